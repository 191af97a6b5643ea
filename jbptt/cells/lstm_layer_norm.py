"""Long short-term memory with layer normalisation (Ba 2016, equations 20 to 22).

    (zi, zf, zg, zo) = γU ⊙ N(x U) + b + γW ⊙ N(h⁻ W)          N: zero mean, unit variance over the 4·H features
    i = σ(zi)   f = σ(zf)   g = tanh(zg)   o = σ(zo)
    c = f ⊙ c⁻ + i ⊙ g      m = γc ⊙ N(c) + βc                  N: over the H units
    h = o ⊙ tanh(m)

(The paper has a bias in each of the first two normalisations: both would only add to b.) Backward, from dh and dc, with
dN = s (dy − mean(dy) − y mean(dy ⊙ y)) at y = N(·), s the inverse deviation (feedforward/normalisation.py):

    δm = dh ⊙ o ⊙ (1 − tanh²(m))       dc ← dc + dN(γc ⊙ δm)
    δi, δf, δg, dc⁻ from dc as in lstm.py, and δo = dh ⊙ tanh(m) ⊙ o (1 − o)
    δ′ = dN(γW ⊙ δ)                     at h⁻ W;  the same with γU at x U
    dh⁻ = Wᵀ δ′                         ∂C/∂W = Σ_t δ′ᵗ (hᵗ⁻¹)ᵀ
    ∂C/∂γW = Σ_t δᵗ ⊙ N(hᵗ⁻¹ W)         ∂C/∂γU = Σ_t δᵗ ⊙ N(xᵗ U)
    ∂C/∂γc = Σ_t δmᵗ ⊙ N(cᵗ)            ∂C/∂βc = Σ_t δmᵗ
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_init
from jbptt.cells.lstm import forgetting_little
from jbptt.cells.lstm_pair import LSTMState
from jbptt.cells.making import maker
from jbptt.cells.pieces import (
    bias_vjp,
    biased,
    blocks,
    check_params,
    checked_start,
    join,
    masked,
    multiples_of,
    project,
    project_vjp,
    scaled,
    with_params,
)
from jbptt.cells.products import transposed
from jbptt.cells.rule import Cell, Consts, Params, Rule
from jbptt.feedforward.activations import sigmoid, tanh
from jbptt.feedforward.layer import bias_gradient, weight_gradient
from jbptt.feedforward.normalisation import normalise, normalise_vjp

GATES = 4
GAINS = {"gU": (4,), "gW": (4,), "gc": (1,)}


class NormSaved(NamedTuple):
    """The gates after their activations, the cell state before the step, tanh(m): [B, H] each; and what the
    normalisations of h⁻ W and of c gave, with their inverse deviations."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array
    c_prev: jax.Array
    tanh_m: jax.Array
    hW: tuple[jax.Array, jax.Array]
    c: tuple[jax.Array, jax.Array]


class NormDelta(NamedTuple):
    """δ at z [B, 4·H], and at m [B, H]."""

    z: jax.Array
    m: jax.Array


@maker
def lstm_layer_norm_cell(*, bias: bool = True) -> Cell:
    """Long short-term memory with layer normalisation of both products and of the cell state.

    - `bias`: whether `init` makes a "b".

    Parameters, gate blocks i, f, g, o: "U" [I, 4·H], "W" [H, 4·H], "b" [4·H], gains "gU" [4·H], "gW" [4·H], "gc" [H]
    and the bias "bc" [H]. State: h, c.
    """
    return _lstm_layer_norm_cell(checks.flag("bias", bias))


@cache
def _lstm_layer_norm_cell(bias):
    plain_init = forgetting_little(gated_init(GATES, bias=bias, others=GAINS | {"bc": (1,)}))

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        params = plain_init(key, input_size, hidden_size, dtype)
        return params | {name: jnp.ones_like(params[name]) for name in GAINS}

    return Cell("lstm_layer_norm", init, _initial_state, _check, _RULE, "Ba 2016")


def _initial_state(params, batch_shape):
    W, batch = checked_start("lstm_layer_norm", params, batch_shape, "W")
    return LSTMState(*[jnp.zeros((*batch, W.shape[0]), W.dtype) for _ in LSTMState._fields])


def _check(params, x):
    def shapes(hidden_size):
        return multiples_of(hidden_size, {"W": (1, GATES), "bc": (1,)} | GAINS)

    needed = {"U", "W", "bc", *GAINS}
    check_params("lstm_layer_norm", params, x, gates=GATES, needed=needed, optional={"b"}, shapes=shapes)


def _project(consts, xs):
    return scaled(consts.params["gU"], normalise(project(consts, xs))[0])


def _project_vjp(consts, xs, deltas):
    y, s = normalise(project(consts, xs))  # formed again: kept, it would be one more [T, B, 4·H]
    (dparams, *_), dxs = project_vjp(consts, xs, normalise_vjp(y, s, scaled(consts.params["gU"], deltas.z)))
    return Consts(dparams | {"gU": bias_gradient(deltas.z * y)}), dxs


def _step(consts, state, z):
    params = consts.params
    hW = normalise(jnp.dot(masked(consts, state.h), params["W"]))
    z = biased(params, z, hW[0].shape) + scaled(params["gW"], hW[0])
    zi, zf, zg, zo = blocks(z, GATES)
    i, f, g, o = sigmoid(zi), sigmoid(zf), tanh(zg), sigmoid(zo)
    c = f * state.c + i * g
    c_normal = normalise(c)
    tanh_m = tanh(scaled(params["gc"], c_normal[0]) + jnp.broadcast_to(params["bc"], c.shape))
    return LSTMState(o * tanh_m, c), NormSaved(i, f, g, o, state.c, tanh_m, hW, c_normal)


def _prepare_backward(consts):
    return with_params(consts, WT=transposed(consts.params["W"]))


def _step_vjp(weights, residuals, dstate):
    i, f, g, o, c_prev, tanh_m, _, (c_normal, c_scale) = residuals.saved
    dh, dc = dstate
    delta_m = dh * o * tanh.prime(tanh_m)
    dc = dc + normalise_vjp(c_normal, c_scale, scaled(weights.params["gc"], delta_m))
    delta_i = dc * g * sigmoid.prime(i)
    delta_f = dc * c_prev * sigmoid.prime(f)
    delta_g = dc * i * tanh.prime(g)
    delta_o = dh * tanh_m * sigmoid.prime(o)
    delta = join(delta_i, delta_f, delta_g, delta_o)
    dh = masked(weights, jnp.dot(_recurrent_delta(weights, residuals, delta), weights.params["WT"]))
    return LSTMState(dh, dc * f), NormDelta(delta, delta_m)


def _recurrent_delta(consts, residuals, delta):
    y, s = residuals.saved.hW
    return normalise_vjp(y, s, scaled(consts.params["gW"], delta))


def _weight_vjp(consts, residuals, deltas):
    h_seen = masked(consts, residuals.h_prev)
    dparams = {
        "W": weight_gradient(h_seen, _recurrent_delta(consts, residuals, deltas.z)),
        "gW": bias_gradient(deltas.z * residuals.saved.hW[0]),
        "gc": bias_gradient(deltas.m * residuals.saved.c[0]),
        "bc": bias_gradient(deltas.m),
    }
    return Consts(dparams | bias_vjp(consts.params, deltas.z))


_RULE = Rule(
    _project, _project_vjp, _step, _prepare_backward, _step_vjp, _weight_vjp, frozenset({"h_mask"}), takes_indices=True
)

lstm_layer_norm = lstm_layer_norm_cell()
