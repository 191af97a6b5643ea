"""The LSTM's pointwise pair in every form that "LSTM: A Search Space Odyssey" has; equations in lstm.py.

B batch (any number of batch axes), H units, G blocks of U, W and b.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.pieces import blocks, join, scaled
from jbptt.cells.rule import NO_COTANGENT
from jbptt.feedforward.activations import identity, sigmoid, tanh
from jbptt.feedforward.layer import bias_gradient, weight_gradient


class Form(NamedTuple):
    """Which LSTM it is.

    - `blocks`: of U, W and b, among "ifgo".
    - `peepholes`: gates that see the cell state, among "ifo".
    - `coupled`: f = 1 − i.
    - `input_activation`, `output_activation`: whether they are tanh or not there.
    - `gate_recurrence`: whether the gates see the gates of the step before.
    """

    blocks: str = "ifgo"
    peepholes: str = ""
    coupled: bool = False
    input_activation: bool = True
    output_activation: bool = True
    gate_recurrence: bool = False


class LSTMState(NamedTuple):
    h: jax.Array
    c: jax.Array


class LSTMGatesState(NamedTuple):
    """The state of an LSTM whose gates see the gates of the step before."""

    h: jax.Array
    c: jax.Array
    i: jax.Array
    f: jax.Array
    o: jax.Array


class LSTMSaved(NamedTuple):
    """The gates after their activations (None: left out), the cell state before the step, and what the output gate lets
    through: [B, H] each; with gate recurrence, the gates of the step before, [B, 3·H]."""

    i: jax.Array | None
    f: jax.Array | None
    g: jax.Array
    o: jax.Array | None
    c_prev: jax.Array
    activated_c: jax.Array
    gates_prev: jax.Array | None


@cache
def lstm_pair(form: Form) -> tuple[Callable, Callable, Callable]:
    """(pointwise, pointwise_vjp, pointwise_weight_vjp) of this form, for `gated_cell`. (With gate recurrence they hold
    a product, and `pointwise_vjp` takes Rᵀ as "RT".)"""
    activation = tanh if form.input_activation else identity
    output_activation = tanh if form.output_activation else identity

    def named(array):
        return dict(zip(form.blocks, blocks(array, len(form.blocks)), strict=True))

    def plus_peephole(params, gate, array, peeped_at):
        if gate not in form.peepholes:
            return array
        p = blocks(params["p"], len(form.peepholes))[form.peepholes.index(gate)]
        return array + scaled(p, peeped_at)

    def pointwise(params, z, hW, state):
        z, c_prev, gates_prev = named(z + hW), state.c, None
        if form.gate_recurrence:
            gates_prev = join(state.i, state.f, state.o)
            for block, q in zip("ifo", blocks(jnp.dot(gates_prev, params["R"]), 3), strict=True):
                z[block] = z[block] + q

        def gate(name, c) -> Any:  # None where it is left out; f = 1 − i and R are of forms that have i
            return sigmoid(plus_peephole(params, name, z[name], c)) if name in z else None

        i, g = gate("i", c_prev), activation(z["g"])
        f = 1 - i if form.coupled else gate("f", c_prev)
        c = _times(f, c_prev) + _times(i, g)
        o, activated_c = gate("o", c), output_activation(c)
        h = _times(o, activated_c)
        saved = LSTMSaved(i, f, g, o, c_prev, activated_c, gates_prev)
        return LSTMGatesState(h, c, i, f, o) if form.gate_recurrence else LSTMState(h, c), saved

    def pointwise_vjp(params, residuals, dstate):
        i, f, g, o, c_prev, activated_c, _ = residuals.saved
        dh, dc, *dgates = dstate
        di, df, do = dgates or (0, 0, 0)  # from the gates of the next step
        dc = dc + _times(o, dh) * output_activation.prime(activated_c)
        delta = {}
        if o is not None:
            delta["o"] = (dh * activated_c + do) * sigmoid.prime(o)
            dc = plus_peephole(params, "o", dc, delta["o"])
        delta["g"] = _times(i, dc) * activation.prime(g)
        if i is not None:
            delta["i"] = (dc * (g - c_prev if form.coupled else g) + di) * sigmoid.prime(i)
        if "f" in form.blocks:
            delta["f"] = (dc * c_prev + df) * sigmoid.prime(f)
        dc = _times(f, dc)
        for gate in (gate for gate in "if" if gate in delta):
            dc = plus_peephole(params, gate, dc, delta[gate])
        dz = join(*[delta[gate] for gate in form.blocks])
        if form.gate_recurrence:
            dgates = blocks(jnp.dot(join(*[delta[gate] for gate in "ifo"]), params["RT"]), 3)
            return LSTMGatesState(NO_COTANGENT, dc, *dgates), dz
        return LSTMState(NO_COTANGENT, dc), dz

    def pointwise_weight_vjp(params, residuals, deltas):
        i, f, g, _, c_prev, _, gates_prev = residuals.saved
        delta, dparams = named(deltas), {}
        if form.peepholes:
            c = _times(f, c_prev) + _times(i, g)  # formed again: kept, it would be one more [T, B, H]
            seen = {"i": c_prev, "f": c_prev, "o": c}
            dparams["p"] = join(*[bias_gradient(delta[gate] * seen[gate]) for gate in form.peepholes])
        if form.gate_recurrence:
            dparams["R"] = weight_gradient(gates_prev, join(*[delta[gate] for gate in "ifo"]))
        return dparams

    return pointwise, pointwise_vjp, pointwise_weight_vjp


def _times(gate, value):  # a gate that is left out is 1
    return value if gate is None else gate * value
