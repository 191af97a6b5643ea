"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000).

    (zi, zf, zg, zo) = x U + b + h W
    i = σ(zi)   f = σ(zf)   g = tanh(zg)   o = σ(zo)
    c = f ⊙ c⁻ + i ⊙ g      h = o ⊙ tanh(c)          (c⁻ is the cell state before the step)

Backward, from dh and dc (∂C/∂h and ∂C/∂c after the step):

    dc ← dc + dh ⊙ o ⊙ (1 − tanh²(c))                the output's way into the cell state
    δi = dc ⊙ g ⊙ i (1 − i)        δf = dc ⊙ c⁻ ⊙ f (1 − f)
    δg = dc ⊙ i ⊙ (1 − g²)         δo = dh ⊙ tanh(c) ⊙ o (1 − o)
    dc⁻ = dc ⊙ f                   dh⁻ = Wᵀ δ
    ∂C/∂W = Σ_t δᵗ (hᵗ⁻¹)ᵀ         ∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ         ∂C/∂b = Σ_t δᵗ
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.cell import Cell, Params, blocks, gated_cell, gated_init, join
from jbptt.feedforward.activations import sigmoid, tanh


class LSTMState(NamedTuple):
    h: jax.Array
    c: jax.Array


class LSTMSaved(NamedTuple):
    """The gates after their activations, the cell state before the step, and tanh of the one after it: [B, H] each."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array
    c_prev: jax.Array
    tanh_c: jax.Array


def _pointwise(params, z, hW, state):
    zi, zf, zg, zo = blocks(z + hW, 4)
    i, f, g, o = sigmoid(zi), sigmoid(zf), tanh(zg), sigmoid(zo)
    c = f * state.c + i * g
    tanh_c = tanh(c)
    return LSTMState(o * tanh_c, c), LSTMSaved(i, f, g, o, state.c, tanh_c)


def _pointwise_vjp(params, kept, dstate):
    i, f, g, o, c_prev, tanh_c = kept.saved
    dh, dc = dstate
    dc = dc + dh * o * tanh.prime(tanh_c)
    delta_i = dc * g * sigmoid.prime(i)
    delta_f = dc * c_prev * sigmoid.prime(f)
    delta_g = dc * i * tanh.prime(g)
    delta_o = dh * tanh_c * sigmoid.prime(o)
    return LSTMState(jnp.zeros_like(dh), dc * f), join(delta_i, delta_f, delta_g, delta_o)


def lstm_cell(*, bias: bool = True, forget_bias: float | None = None) -> Cell:
    """Long short-term memory.

    - `bias`: whether `init` makes a "b".
    - `forget_bias`: what `init` puts into b's forget block, 1 if not given (Jozefowicz 2015); the forward adds nothing.

    Parameters, gate blocks i, f, g, o: "U" [I, 4·H], "W" [H, 4·H], "b" [4·H]. State: h, c. Raises ValueError for a
    forget bias without a bias.
    """
    if forget_bias is not None and not bias:
        raise ValueError(f"forget_bias {forget_bias} has no bias to go into: leave it out, or leave out bias=False")
    return _lstm_cell(bias, 1.0 if forget_bias is None else float(forget_bias))


@lru_cache
def _lstm_cell(bias, forget_bias):
    plain_init = gated_init(4, bias=bias)

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        params = plain_init(key, input_size, hidden_size, dtype)
        if bias:
            params["b"] = params["b"].at[hidden_size : 2 * hidden_size].set(forget_bias)
        return params

    return gated_cell(
        "lstm", gates=4, state_type=LSTMState, init=init, pointwise=_pointwise, pointwise_vjp=_pointwise_vjp
    )


lstm = lstm_cell()
