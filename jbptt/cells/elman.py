"""The simple recurrent network (Elman 1990), the cell of the lecture's SISO, SIMO and MIMO.

zᵗ = U xᵗ + W aᵗ⁻¹ + b         aᵗ = f(zᵗ)         h = a
δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)
∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ     ∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ     ∂C/∂b = Σ_t δᵗ
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.cell import Cell, gated_cell, gated_init
from jbptt.feedforward.activations import Activation, check_activation, tanh


class RNNState(NamedTuple):
    h: jax.Array


def rnn_cell(activation: Activation = tanh, *, bias: bool = True) -> Cell:
    """The simple recurrent cell.

    - `activation`: f, a `jbptt.Activation`.
    - `bias`: whether `init` makes a "b".

    Parameters: "U" [I, H], "W" [H, H], "b" [H]. Raises TypeError for an activation without its f′.
    """
    check_activation("activation", activation)
    return _rnn_cell(activation, bias)


@lru_cache
def _rnn_cell(activation, bias):
    keeps_output = activation.keeps == "output"

    def pointwise(params, z, hW, state):
        z = z + hW
        saved = () if keeps_output else z
        return RNNState(activation(z)), saved

    def pointwise_vjp(params, kept, dstate):
        delta = dstate.h * activation.prime(kept.h if keeps_output else kept.saved)
        return RNNState(jnp.zeros_like(delta)), delta

    return gated_cell(
        f"rnn_{activation.name}" if activation is not tanh else "rnn",
        gates=1,
        state_type=RNNState,
        init=gated_init(1, bias=bias),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
    )


rnn = rnn_cell()
