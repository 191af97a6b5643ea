"""Cells that are a product with h and then a pointwise function: most are.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jbptt.cells.cell import (
    Cell,
    Kept,
    Kernel,
    Params,
    State,
    bias_vjp,
    biased,
    check_init,
    check_params,
    masked,
    multiples_of,
    own_functions,
    project,
    project_vjp,
)
from jbptt.cells.products import FULL, Product, drawn


def gated_cell(
    name: str,
    *,
    gates: int,
    state_type: type,
    init: Callable[..., Params],
    pointwise: Callable[[Params, jax.Array, jax.Array, State], tuple[State, Any]],
    pointwise_vjp: Callable[[Params, Kept, State], tuple[State, jax.Array]],
    recurrent_delta: Callable[[Params, Kept, jax.Array], jax.Array] = lambda params, kept, delta: delta,
    pointwise_weight_vjp: Callable[[Params, Kept, jax.Array], Params] = lambda params, kept, deltas: {},
    product: Product = FULL,
    others: dict[str, tuple[int, ...]] | None = None,
    optional: tuple[str, ...] = (),
    reference: str = "",
    kernel: str | None = None,
    peepholes: str = "",
) -> Cell:
    """A cell that is one product with h and then a pointwise function of x U + b and h W.

    - `gates`: G; parameters are "U" [I, G·H], "W" [H, G·H] and, for a bias, "b" [G·H].
    - `state_type`: the state's NamedTuple, `h` first, every field [B, H].
    - `pointwise(params, z, h W, state) -> (state, saved)`: z = x U + b.
    - `pointwise_vjp(params, kept, dstate) -> (dstate, delta)`: dstate without its way through h W; its `h` is None
      where there is no other.
    - `recurrent_delta(params, kept, delta)`: ∂C/∂(h W), where it is not δ itself.
    - `pointwise_weight_vjp(params, kept, deltas)`: gradients of parameters that `pointwise` uses, over all T.
    - `product`: how h meets W.
    - `others`: the parameters that `pointwise` uses, and their shapes in multiples of H: {"p": (3,)} is p [3·H].
    - `kernel`, `peepholes`: the kernel that runs it, if there is one, and the gates that see the cell state.
    - `optional`: those of them that parameters may do without.
    """
    others = others or {}
    needed = {"U", "W", *others} - set(optional)

    def shapes(hidden_size):
        return {"W": product.shape(hidden_size, gates)} | multiples_of(hidden_size, others)

    def initial_state(params, batch_shape):
        U = params["U"]
        return state_type(*[jnp.zeros((*batch_shape, U.shape[1] // gates), U.dtype) for _ in state_type._fields])

    def check(params, x):
        check_params(name, params, x, gates=gates, needed=needed, optional={"b", *optional}, shapes=shapes)

    def step(params, state, z):
        hW = product.times(masked(params, state.h), params["W"])
        return pointwise(params, biased(params, z, hW.shape), hW, state)

    def way_back(params):
        return params | {"WT": product.transposed(params["W"])}

    def step_vjp(way_back, kept, dstate):
        dstate, delta = pointwise_vjp(way_back, kept, dstate)
        dh = masked(way_back, product.back(recurrent_delta(way_back, kept, delta), way_back["WT"]))  # Wᵀ δ
        return dstate._replace(h=dh if dstate.h is None else dstate.h + dh), delta

    def weight_vjp(params, kept, deltas):
        h_prev = masked(params, kept.h_prev)
        dW = product.gradient(h_prev, recurrent_delta(params, kept, deltas))  # Σ_t δᵗ (aᵗ⁻¹)ᵀ
        return {"W": dW} | bias_vjp(params, deltas) | pointwise_weight_vjp(params, kept, deltas)

    cell = Cell(
        name=name,
        init=init,
        initial_state=initial_state,
        check=check,
        project=project,
        project_vjp=project_vjp,
        step=step,
        way_back=way_back,
        step_vjp=step_vjp,
        weight_vjp=weight_vjp,
        reference=reference,
        masks_h=True,
    )
    if kernel is None or product is not FULL:
        return cell
    return cell._replace(kernel=Kernel(kernel, own_functions(cell), peepholes))


def gated_init(
    gates: int, *, bias: bool, product: Product = FULL, others: dict[str, tuple[int, ...]] | None = None
) -> Callable[..., Params]:
    """The initialiser of a gated cell: each gate's block of U Glorot-uniform (Glorot and Bengio 2010), of W
    orthogonal (Saxe 2014), everything else zero."""

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        check_init(input_size, hidden_size, dtype)
        product.shape(hidden_size, gates)
        key_U, key_W = jax.random.split(key)
        params = {
            "U": drawn(jax.nn.initializers.glorot_uniform(), key_U, gates, (input_size, hidden_size), dtype),
            "W": product.init(key_W, hidden_size, gates, dtype),
        }
        zeros = multiples_of(hidden_size, ({"b": (gates,)} if bias else {}) | (others or {}))
        return params | {name: jnp.zeros(shape, dtype) for name, (_, shape) in zeros.items()}

    return init
