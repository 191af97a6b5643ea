"""The independently recurrent network (Li 2018): a unit sees of the step before only itself.

    zᵗ = U xᵗ + w ⊙ aᵗ⁻¹ + b      aᵗ = f(zᵗ)      h = a
    δᵗ = (∂cᵗ/∂aᵗ + w ⊙ δᵗ⁺¹) ⊙ f′(zᵗ)
    ∂C/∂w = Σ_t δᵗ ⊙ aᵗ⁻¹

It is the simple recurrent cell whose recurrent weights are diagonal.
"""

from functools import cache

import jax

from jbptt import checks
from jbptt.cells.elman import RNNState, rnn_pair
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.making import maker
from jbptt.cells.pieces import scaled
from jbptt.cells.products import Product, drawn
from jbptt.cells.rule import Cell
from jbptt.feedforward.activations import Activation, check_activation, relu
from jbptt.feedforward.layer import bias_gradient

DIAGONAL = Product(
    shape=lambda hidden_size, gates: ("[H]", (hidden_size,)),
    # From 0 to 1: each unit remembers over a time of its own.
    init=lambda key, hidden_size, gates, dtype: drawn(jax.random.uniform, key, 1, (hidden_size,), dtype),
    times=lambda h, w: scaled(w, h),
    transposed=lambda w: w,
    back=lambda delta, w: scaled(w, delta),
    gradient=lambda h_prev, delta, w: bias_gradient(delta * h_prev),
)


@maker
def indrnn_cell(activation: Activation = relu, *, bias: bool = True) -> Cell:
    """The independently recurrent cell.

    - `activation`: f, a `jbptt.Activation`.
    - `bias`: whether `init` makes a "b".

    Parameters: "U" [I, H], "W" [H], "b" [H]. State: h. Raises TypeError for an activation without its f′.
    """
    check_activation("activation", activation)
    return _indrnn_cell(activation, checks.flag("bias", bias))


@cache
def _indrnn_cell(activation, bias):
    pointwise, pointwise_vjp = rnn_pair(activation)
    return gated_cell(
        "indrnn",
        gates=1,
        state_type=RNNState,
        init=gated_init(1, bias=bias, product=DIAGONAL),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
        product=DIAGONAL,
        reference="Li 2018",
    )


indrnn = indrnn_cell()
