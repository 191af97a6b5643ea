"""The depth-gated LSTM (Yao 2015): layers whose cell states are joined by a gate, as one cell of L layers.

In layer l, from its input x (the layer below's h), its own h⁻ and c⁻, and the layer below's c, called e:

    (zi, zf, zg, zo) = x U + b + h⁻ W        zd = x Ud + bd                                 (d: from layer 2 on)
    i = σ(zi + pi ⊙ c⁻)    f = σ(zf + pf ⊙ c⁻)    g = tanh(zg)    d = σ(zd + pd ⊙ c⁻ + qd ⊙ e)
    c = f ⊙ c⁻ + i ⊙ g + d ⊙ e        o = σ(zo + po ⊙ c)        h = o ⊙ tanh(c)

Backward, from dh and dc, layer by layer from the top, which hands dx and de down:

    δo = dh ⊙ tanh(c) ⊙ o (1 − o)          dc ← dc + dh ⊙ o ⊙ (1 − tanh²(c)) + po ⊙ δo
    δi = dc ⊙ g ⊙ i (1 − i)    δf = dc ⊙ c⁻ ⊙ f (1 − f)    δg = dc ⊙ i ⊙ (1 − g²)    δd = dc ⊙ e ⊙ d (1 − d)
    dc⁻ = dc ⊙ f + pi ⊙ δi + pf ⊙ δf + pd ⊙ δd       de = dc ⊙ d + qd ⊙ δd
    dh⁻ = Wᵀ (δi, δf, δg, δo)                        dx = (U, Ud)ᵀ (δi, δf, δg, δo, δd)

and every weight's gradient is Σ_t of its δ and what it multiplies.

B batch (any number of batch axes), I inputs, H units, L layers.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_init
from jbptt.cells.lstm import forgetting_little
from jbptt.cells.making import maker
from jbptt.cells.pieces import (
    bias_vjp,
    biased,
    blocks,
    check_params,
    checked_start,
    join,
    maker_name,
    project,
    project_vjp,
    scaled,
    with_params,
)
from jbptt.cells.products import transposed
from jbptt.cells.rule import Cell, Consts, Params, Rule
from jbptt.feedforward.activations import sigmoid, tanh
from jbptt.feedforward.layer import bias_gradient, weight_gradient


class DepthGatedState(NamedTuple):
    """h [B, H] of the top layer; h [B, (L−1)·H] of those below it; c [B, L·H] of all, the lowest first."""

    h: jax.Array
    h_below: jax.Array
    c: jax.Array


class LayerSaved(NamedTuple):
    """A layer's gates after their activations (the lowest has no d), h before the step (None: the top layer's, which is
    kept already), c before it, c and tanh of c: [B, H] each."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array
    d: jax.Array | None
    h_prev: jax.Array | None
    c_prev: jax.Array
    c: jax.Array
    tanh_c: jax.Array

    @property
    def h(self) -> jax.Array:
        return self.o * self.tanh_c


@maker
def lstm_depth_gated_cell(layers: int = 2, *, bias: bool = True) -> Cell:
    """Layers of long short-term memory, with peepholes, whose cell states are joined by depth gates.

    - `layers`: L.
    - `bias`: whether `init` makes "b" and "b_above".

    Parameters, gate blocks i, f, g, o, d: "U" [I, 4·H] and "b" [4·H] of the lowest layer, "U_above" [L−1, H, 5·H] and
    "b_above" [L−1, 5·H], "W" [L, H, 4·H], peepholes "p" [L, 3·H] (pi, pf, po) and "p_above" [L−1, 2·H] (pd, qd).
    State: h, h_below, c. Raises TypeError or ValueError unless `layers` is an int of at least 1.
    """
    checks.size("layers", layers)
    return _lstm_depth_gated_cell(layers, checks.flag("bias", bias))


@cache
def _lstm_depth_gated_cell(L, bias):
    lowest_init = forgetting_little(gated_init(4, bias=bias))
    above_init = forgetting_little(gated_init(5, bias=bias))

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        checks.key("key", key)
        keys = jax.random.split(key, L)
        lowest = lowest_init(keys[0], input_size, hidden_size, dtype)
        above = [above_init(k, hidden_size, hidden_size, dtype) for k in keys[1:]]
        zeros = {name: jnp.zeros(shape, dtype) for name, (_, shape) in _shapes(L, hidden_size).items()}
        stacks = {
            "W": [lowest["W"], *[layer["W"][:, : 4 * hidden_size] for layer in above]],
            "U_above": [layer["U"] for layer in above],
        }
        stacks |= {"b_above": [layer["b"] for layer in above]} if bias else {}
        params = zeros | lowest | {name: jnp.stack(arrays) for name, arrays in stacks.items() if arrays}
        return {name: leaf for name, leaf in params.items() if bias or name != "b_above"}

    def initial_state(params, batch_shape):
        U, batch = checked_start("lstm_depth_gated", params, batch_shape)
        H = U.shape[1] // 4
        return DepthGatedState(*[jnp.zeros((*batch, n * H), U.dtype) for n in (1, L - 1, L)])

    def check(params, x):
        needed, optional = {"U", *_shapes(L, 1)} - {"b_above"}, {"b", "b_above"}
        check_params(
            "lstm_depth_gated", params, x, gates=4, needed=needed, optional=optional, shapes=partial(_shapes, L)
        )

    name = maker_name("lstm_depth_gated", layers=(L, 2), bias=(bias, True))
    return Cell(name, init, initial_state, check, _rule(L), "Yao 2015")


def _shapes(L, H):
    return {
        "W": ("[L, H, 4·H]", (L, H, 4 * H)),
        "p": ("[L, 3·H]", (L, 3 * H)),
        "U_above": ("[L−1, H, 5·H]", (L - 1, H, 5 * H)),
        "b_above": ("[L−1, 5·H]", (L - 1, 5 * H)),
        "p_above": ("[L−1, 2·H]", (L - 1, 2 * H)),
    }


@cache
def _rule(L):
    def step(consts, state, z):
        params = consts.params
        hs_prev, cs_prev, layers = _by_layer(state, L), blocks(state.c, L), []
        for l in range(L):
            hW = jnp.dot(hs_prev[l], params["W"][l])
            if l == 0:
                z, below = biased(params, z, hW.shape), None
            else:
                below = layers[-1]
                z = jnp.dot(below.h, params["U_above"][l - 1])
                z = z + jnp.broadcast_to(params["b_above"][l - 1], z.shape) if "b_above" in params else z
            layers.append(_layer(params, l, z, hW, hs_prev[l], cs_prev[l], below))
        state = _state([layer.h for layer in layers], [layer.c for layer in layers])
        return state, (*layers[:-1], layers[-1]._replace(h_prev=None))

    def prepare_backward(consts):
        W, U_above = consts.params["W"], consts.params["U_above"]
        return with_params(consts, WT=transposed(W), U_aboveT=transposed(U_above))

    def step_vjp(weights, residuals, dstate):
        params = weights.params
        dhs, dcs, deltas = _by_layer(dstate, L), blocks(dstate.c, L), [None] * L
        for l in reversed(range(L)):
            below = residuals.saved[l - 1] if l > 0 else None
            deltas[l], dcs[l], dc_below = _layer_vjp(params, l, residuals.saved[l], below, dhs[l], dcs[l])
            dhs[l] = jnp.dot(deltas[l][..., : params["WT"].shape[1]], params["WT"][l])
            if dc_below is not None:  # l > 0
                dcs[l - 1] = dcs[l - 1] + dc_below
                dhs[l - 1] = dhs[l - 1] + jnp.dot(deltas[l], params["U_aboveT"][l - 1])
        return _state(dhs, dcs), tuple(deltas)

    def weight_vjp(consts, residuals, deltas):
        params = consts.params
        dparams = {name: [] for name in _shapes(L, 1)}
        for l, (layer, delta) in enumerate(zip(residuals.saved, deltas, strict=True)):
            H = layer.c.shape[-1]
            delta_i, delta_f, _, delta_o, *delta_d = blocks(delta, delta.shape[-1] // H)
            h_prev = residuals.h_prev if layer.h_prev is None else layer.h_prev
            dparams["W"].append(weight_gradient(h_prev, delta[..., : 4 * H]))
            seen = delta_i * layer.c_prev, delta_f * layer.c_prev, delta_o * layer.c
            dparams["p"].append(bias_gradient(join(*seen)))
            for d in delta_d:
                below = residuals.saved[l - 1]
                dparams["U_above"].append(weight_gradient(below.h, delta))
                dparams["b_above"].append(bias_gradient(delta))
                dparams["p_above"].append(bias_gradient(join(d * layer.c_prev, d * below.c)))
        stacks = {name: jnp.stack(arrays) for name, arrays in dparams.items() if name in params and arrays}
        none = {name: jnp.zeros_like(params[name]) for name in dparams.keys() & params.keys() - stacks.keys()}
        return Consts(stacks | none | bias_vjp(params, deltas[0]))

    def project_lowest_vjp(consts, xs, deltas):
        return project_vjp(consts, xs, deltas[0])

    return Rule(project, project_lowest_vjp, step, prepare_backward, step_vjp, weight_vjp, takes_indices=True)


def _layer(params, l, z, hW, h_prev, c_prev, below):
    """What layer l keeps of a step; `below`, what the one below it does."""
    zi, zf, zg, zo, *zd = blocks(z, z.shape[-1] // c_prev.shape[-1])
    qi, qf, qg, qo = blocks(hW, 4)
    pi, pf, po = blocks(params["p"][l], 3)
    i, f = sigmoid(zi + qi + scaled(pi, c_prev)), sigmoid(zf + qf + scaled(pf, c_prev))
    g, d = tanh(zg + qg), None
    c = f * c_prev + i * g
    if l > 0:
        pd, qd = blocks(params["p_above"][l - 1], 2)
        d = sigmoid(zd[0] + scaled(pd, c_prev) + scaled(qd, below.c))
        c = c + d * below.c
    return LayerSaved(i, f, g, sigmoid(zo + qo + scaled(po, c)), d, h_prev, c_prev, c, tanh(c))


def _layer_vjp(params, l, saved, below, dh, dc):
    """(δ, dc⁻, ∂C/∂(c of the layer below), None in the lowest) of layer l."""
    i, f, g, o, d, _, c_prev, _, tanh_c = saved
    pi, pf, po = blocks(params["p"][l], 3)
    delta_o = dh * tanh_c * sigmoid.prime(o)
    dc = dc + dh * o * tanh.prime(tanh_c) + scaled(po, delta_o)
    delta_i, delta_f = dc * g * sigmoid.prime(i), dc * c_prev * sigmoid.prime(f)
    delta = join(delta_i, delta_f, dc * i * tanh.prime(g), delta_o)
    dc_prev = dc * f + scaled(pi, delta_i) + scaled(pf, delta_f)
    if l == 0:
        return delta, dc_prev, None
    pd, qd = blocks(params["p_above"][l - 1], 2)
    delta_d = dc * below.c * sigmoid.prime(d)
    return join(delta, delta_d), dc_prev + scaled(pd, delta_d), dc * d + scaled(qd, delta_d)


def _by_layer(state, L):
    """h of every layer, the lowest first."""
    return [*(blocks(state.h_below, L - 1) if L > 1 else []), state.h]


def _state(hs, cs):
    *below, h = hs
    return DepthGatedState(h, join(*below) if below else jnp.zeros((*h.shape[:-1], 0), h.dtype), join(*cs))


lstm_depth_gated = lstm_depth_gated_cell()
