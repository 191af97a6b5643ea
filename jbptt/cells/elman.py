"""The simple recurrent network (Elman 1990), the cell of the lecture's SISO, SIMO and MIMO.

zᵗ = U xᵗ + W aᵗ⁻¹ + b         aᵗ = f(zᵗ)         h = a
δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)
∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ     ∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ     ∂C/∂b = Σ_t δᵗ
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.making import maker
from jbptt.cells.pieces import check_init, maker_name
from jbptt.cells.products import block_diagonal
from jbptt.cells.rule import NO_COTANGENT, Cell, Params
from jbptt.feedforward.activations import Activation, check_activation, relu, tanh


class RNNState(NamedTuple):
    h: jax.Array


@maker
def rnn_cell(activation: Activation = tanh, *, bias: bool = True, heads: int = 1) -> Cell:
    """The simple recurrent cell.

    - `activation`: f, a `jbptt.Activation`.
    - `bias`: whether `init` makes a "b".
    - `heads`: W is block-diagonal, so many blocks; H must be a multiple.

    Parameters: "U" [I, H], "W" [H, H] (with heads: [heads, H/heads, H/heads]), "b" [H]. State: h. Raises TypeError for
    an activation without its f′.
    """
    check_activation("activation", activation)
    product, bias = block_diagonal(heads), checks.flag("bias", bias)
    name = maker_name("rnn", activation=(activation.name, "tanh"), bias=(bias, True), heads=(int(heads), 1))
    return _rnn_cell(name, activation, bias, product)


@cache
def _rnn_cell(name, activation, bias, product):
    pointwise, pointwise_vjp = rnn_pair(activation)
    return gated_cell(
        name,
        gates=1,
        state_type=RNNState,
        init=gated_init(1, bias=bias, product=product),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
        product=product,
        reference="Elman 1990",
    )


@cache
def rnn_pair(activation: Activation) -> tuple[Callable, Callable]:
    """(pointwise, pointwise_vjp) of h = f(z + h W), for `gated_cell`."""
    keeps_output = activation.keeps == "output"

    def pointwise(params, z, hW, state):
        z = z + hW
        saved = () if keeps_output else z
        return RNNState(activation(z)), saved

    def pointwise_vjp(params, residuals, dstate):
        return RNNState(NO_COTANGENT), dstate.h * activation.prime(residuals.h if keeps_output else residuals.saved)

    return pointwise, pointwise_vjp


rnn = rnn_cell()


def _irnn_init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
    """U normal with deviation 0.001, W the identity, b zero."""
    check_init(key, input_size, hidden_size, dtype)
    U = 0.001 * jax.random.normal(key, (input_size, hidden_size), jnp.float32)
    return {"U": U.astype(dtype), "W": jnp.eye(hidden_size, dtype=dtype), "b": jnp.zeros(hidden_size, dtype)}


irnn = rnn_cell(relu)._replace(name="irnn", init=_irnn_init, reference="Le 2015")
"""The simple recurrent cell of rectified linear units that starts from the identity: W = 1, b = 0, and U small."""
