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
from jbptt.cells.gated import gated_init
from jbptt.cells.lstm import forgetting_little
from jbptt.cells.lstm_pair import Form, LSTMState, lstm_pair
from jbptt.cells.making import maker
from jbptt.cells.pieces import (
    bias_vjp,
    biased,
    check_init,
    check_params,
    checked_start,
    masked,
    project,
    project_vjp,
    with_params,
)
from jbptt.cells.products import drawn, transposed
from jbptt.cells.rule import Cell, Consts, Params, Rule
from jbptt.feedforward.layer import weight_gradient

GATES = 4
_pointwise, _pointwise_vjp, _ = lstm_pair(Form())


class ProjectedDelta(NamedTuple):
    """δ at z [B, 4·H], and ∂C/∂h [B, P], which is δ at the projection."""

    z: jax.Array
    h: jax.Array


@maker
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
        check_init(key, input_size, hidden_size, dtype)
        P = max(1, hidden_size // 2) if proj_size is None else proj_size
        key, key_W, key_R = jax.random.split(key, 3)
        params = forgetting_little(gated_init(GATES, bias=bias))(key, input_size, hidden_size, dtype)
        return params | {
            "W": drawn(jax.nn.initializers.orthogonal(), key_W, GATES, (P, hidden_size), dtype),
            "R": drawn(jax.nn.initializers.orthogonal(), key_R, 1, (hidden_size, P), dtype),
        }

    return Cell("lstm_projected", init, _initial_state, _check, _RULE, "Sak 2014")


def _initial_state(params, batch_shape):
    R, batch = checked_start("lstm_projected", params, batch_shape, "R")
    h, c = (jnp.zeros((*batch, features), R.dtype) for features in R.shape[::-1])
    return LSTMState(h, c)


def _check(params, x):
    def shapes(hidden_size):
        W = checks.parameter("params['W']", params["W"])
        P = W.shape[0] if W.ndim == 2 else 1
        return {"W": ("[P, 4·H]", (P, GATES * hidden_size)), "R": ("[H, P]", (hidden_size, P))}

    check_params("lstm_projected", params, x, gates=GATES, needed={"U", "W", "R"}, optional={"b"}, shapes=shapes)


def _project_vjp(consts, xs, deltas):
    return project_vjp(consts, xs, deltas.z)


def _step(consts, state, z):
    params = consts.params
    hW = jnp.dot(masked(consts, state.h), params["W"])
    made, saved = _pointwise(params, biased(params, z, hW.shape), hW, state)
    return LSTMState(jnp.dot(made.h, params["R"]), made.c), saved


def _prepare_backward(consts):
    return with_params(consts, **{name + "T": transposed(consts.params[name]) for name in "WR"})


def _step_vjp(weights, residuals, dstate):
    dy = jnp.dot(dstate.h, weights.params["RT"])
    before, delta = _pointwise_vjp({}, residuals, dstate._replace(h=dy))
    dh = masked(weights, jnp.dot(delta, weights.params["WT"]))
    return before._replace(h=dh), ProjectedDelta(delta, dstate.h)


def _weight_vjp(consts, residuals, deltas):
    y = residuals.saved.o * residuals.saved.activated_c
    dW = weight_gradient(masked(consts, residuals.h_prev), deltas.z)
    return Consts({"W": dW, "R": weight_gradient(y, deltas.h)} | bias_vjp(consts.params, deltas.z))


_RULE = Rule(
    project, _project_vjp, _step, _prepare_backward, _step_vjp, _weight_vjp, frozenset({"h_mask"}), takes_indices=True
)

lstm_projected = lstm_projected_cell()
