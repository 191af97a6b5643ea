"""Long short-term memory with a recurrent projection (Sak 2014), as PyTorch's `proj_size` has it.

    (i, f, g, o), c, tanh(c) as in lstm.py, from x U + b + h⁻ W with h⁻ [B, P]
    y = o ⊙ tanh(c)        h = y R

Backward, from dh and dc: dy = Rᵀ dh, then as in lstm.py from dy and dc; and

    ∂C/∂R = Σ_t dhᵗ (yᵗ)ᵀ

P projected units, the features of h; the cell state keeps H.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.cell import Cell, Params, bias_vjp, biased, check_init, check_params, masked, project, project_vjp
from jbptt.cells.gated import gated_init
from jbptt.cells.lstm import forgetting_little
from jbptt.cells.lstm_pair import Form, LSTMState, lstm_pair
from jbptt.cells.products import drawn, transposed
from jbptt.feedforward.layer import weight_gradient

GATES = 4
_pointwise, _pointwise_vjp, _ = lstm_pair(Form())


class ProjectedDelta(NamedTuple):
    """δ at z [B, 4·H], and ∂C/∂h [B, P], which is δ at the projection."""

    z: jax.Array
    h: jax.Array


def lstm_projected_cell(proj_size: int | None = None, *, bias: bool = True) -> Cell:
    """Long short-term memory whose h is a projection.

    - `proj_size`: P that `init` makes; half of H if not given.
    - `bias`: whether `init` makes a "b".

    Parameters, gate blocks i, f, g, o: "U" [I, 4·H], "W" [P, 4·H], "R" [H, P], "b" [4·H]. State: h [B, P], c [B, H].
    Raises TypeError or ValueError unless `proj_size` is an int of at least 1.
    """
    if proj_size is not None:
        checks.size("proj_size", proj_size)
    return _lstm_projected_cell(proj_size, checks.flag("bias", bias))


@cache
def _lstm_projected_cell(proj_size, bias):
    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        check_init(input_size, hidden_size, dtype)
        P = max(1, hidden_size // 2) if proj_size is None else proj_size
        key, key_W, key_R = jax.random.split(key, 3)
        params = forgetting_little(gated_init(GATES, bias=bias))(key, input_size, hidden_size, dtype)
        return params | {
            "W": drawn(jax.nn.initializers.orthogonal(), key_W, GATES, (P, hidden_size), dtype),
            "R": drawn(jax.nn.initializers.orthogonal(), key_R, 1, (hidden_size, P), dtype),
        }

    return Cell(
        name="lstm_projected",
        init=init,
        initial_state=_initial_state,
        check=_check,
        project=project,
        project_vjp=lambda params, xs, deltas: project_vjp(params, xs, deltas.z),
        step=_step,
        way_back=_way_back,
        step_vjp=_step_vjp,
        weight_vjp=_weight_vjp,
        reference="Sak 2014",
        masks_h=True,
    )


def _initial_state(params, batch_shape):
    R = params["R"]
    h, c = (jnp.zeros((*batch_shape, features), R.dtype) for features in R.shape[::-1])
    return LSTMState(h, c)


def _check(params, x):
    def shapes(hidden_size):
        W = checks.parameter("params['W']", params["W"])
        P = W.shape[0] if W.ndim == 2 else 1
        return {"W": ("[P, 4·H]", (P, GATES * hidden_size)), "R": ("[H, P]", (hidden_size, P))}

    check_params("lstm_projected", params, x, gates=GATES, needed={"U", "W", "R"}, optional={"b"}, shapes=shapes)


def _step(params, state, z):
    hW = jnp.dot(masked(params, state.h), params["W"])
    (y, c), saved = _pointwise(params, biased(params, z, hW.shape), hW, state)
    return LSTMState(jnp.dot(y, params["R"]), c), saved


def _way_back(params):
    return params | {name + "T": transposed(params[name]) for name in "WR"}


def _step_vjp(way_back, kept, dstate):
    dy = jnp.dot(dstate.h, way_back["RT"])
    before, delta = _pointwise_vjp({}, kept, dstate._replace(h=dy))
    return before._replace(h=masked(way_back, jnp.dot(delta, way_back["WT"]))), ProjectedDelta(delta, dstate.h)


def _weight_vjp(params, kept, deltas):
    y = kept.saved.o * kept.saved.activated_c
    dparams = {"W": weight_gradient(masked(params, kept.h_prev), deltas.z), "R": weight_gradient(y, deltas.h)}
    return dparams | bias_vjp(params, deltas.z)


lstm_projected = lstm_projected_cell()
