"""Cells that are a product with h and then a pointwise function: most are.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.making import maker
from jbptt.cells.pieces import (
    bias_vjp,
    biased,
    check_init,
    check_params,
    checked_start,
    masked,
    multiples_of,
    project,
    project_vjp,
    with_params,
)
from jbptt.cells.products import FULL, Product, drawn
from jbptt.cells.rule import Cell, Consts, Params, Rule, State, StepResiduals


def _delta_itself(params, residuals, delta):
    return delta


def _no_gradients(params, residuals, deltas):
    return {}


@maker
def gated_cell(
    name: str,
    *,
    gates: int,
    state_type: type,
    init: Callable[..., Params],
    pointwise: Callable[[Params, jax.Array, jax.Array, State], tuple[State, Any]],
    pointwise_vjp: Callable[[Params, StepResiduals, State], tuple[State, jax.Array]],
    recurrent_delta: Callable[[Params, StepResiduals, jax.Array], jax.Array] = _delta_itself,
    pointwise_weight_vjp: Callable[[Params, StepResiduals, jax.Array], Params] = _no_gradients,
    product: Product = FULL,
    others: dict[str, tuple[int, ...]] | None = None,
    optional: tuple[str, ...] = (),
    reference: str = "",
) -> Cell:
    """A cell that is one product with h and then a pointwise function of x U + b and h W.

    - `gates`: G; parameters are "U" [I, G·H], "W" [H, G·H] and, for a bias, "b" [G·H].
    - `state_type`: the state's NamedTuple, `h` first, every field [B, H].
    - `pointwise(params, z, h W, state) -> (state, saved)`: z = x U + b.
    - `pointwise_vjp(params, residuals, dstate) -> (dstate, delta)`: dstate without its way through h W; its `h` is None
      where there is no other.
    - `recurrent_delta(params, residuals, delta)`: ∂C/∂(h W), where it is not δ itself.
    - `pointwise_weight_vjp(params, residuals, deltas)`: gradients of parameters that `pointwise` uses, over all T.
    - `product`: how h meets W.
    - `others`: the parameters that `pointwise` uses, and their shapes in multiples of H: {"p": (3,)} is p [3·H].
    - `optional`: those of them that parameters may do without.

    Raises ValueError for others of a name that the cell has a use for itself, TypeError for a state that is no
    NamedTuple with its h first.
    """
    checks.size("gates", gates)
    if not getattr(state_type, "_fields", ()) or state_type._fields[0] != "h":
        raise TypeError(f"state_type must be a NamedTuple whose first field is h, got {state_type!r}")
    others = others or {}
    if taken := sorted({"U", "W", "WT", "b"} & others.keys()):
        raise ValueError(f"others must have names of their own, and {taken} are taken: U, W and b, and WT for Wᵀ")
    needed = {"U", "W", *others} - set(optional)

    def shapes(hidden_size):
        return {"W": product.shape(hidden_size, gates)} | multiples_of(hidden_size, others)

    def initial_state(params, batch_shape):
        U, batch = checked_start(name, params, batch_shape)
        return state_type(*[jnp.zeros((*batch, U.shape[1] // gates), U.dtype) for _ in state_type._fields])

    def check(params, x):
        check_params(name, params, x, gates=gates, needed=needed, optional={"b", *optional}, shapes=shapes)

    rule = gated_rule(pointwise, pointwise_vjp, recurrent_delta, pointwise_weight_vjp, product)
    return Cell(name, init, initial_state, check, rule, reference)


@cache
def gated_rule(
    pointwise: Callable,
    pointwise_vjp: Callable,
    recurrent_delta: Callable,
    pointwise_weight_vjp: Callable,
    product: Product,
) -> Rule:
    """The rule of a gated cell. Equal arguments give the same rule: cells that differ in their parameters' start alone
    share it."""

    def step(consts, state, z):
        hW = product.times(masked(consts, state.h), consts.params["W"])
        return pointwise(consts.params, biased(consts.params, z, hW.shape), hW, state)

    def prepare_backward(consts):
        return with_params(consts, WT=product.transposed(consts.params["W"]))

    def step_vjp(weights, residuals, dstate):
        dstate, delta = pointwise_vjp(weights.params, residuals, dstate)
        delta_h = recurrent_delta(weights.params, residuals, delta)
        dh = masked(weights, product.back(delta_h, weights.params["WT"]))  # Wᵀ δ
        return dstate._replace(h=dh if dstate.h is None else dstate.h + dh), delta

    def weight_vjp(consts, residuals, deltas):
        params, h_prev = consts.params, masked(consts, residuals.h_prev)
        delta_h = recurrent_delta(params, residuals, deltas)
        dW = product.gradient(h_prev, delta_h, params["W"])  # Σ_t δᵗ (aᵗ⁻¹)ᵀ
        return Consts({"W": dW} | bias_vjp(params, deltas) | pointwise_weight_vjp(params, residuals, deltas))

    return Rule(
        project, project_vjp, step, prepare_backward, step_vjp, weight_vjp, frozenset({"h_mask"}), takes_indices=True
    )


def gated_init(
    gates: int, *, bias: bool, product: Product = FULL, others: dict[str, tuple[int, ...]] | None = None
) -> Callable[..., Params]:
    """The initialiser of a gated cell: each gate's block of U Glorot-uniform (Glorot and Bengio 2010), of W
    orthogonal (Saxe 2014), everything else zero. Two of equal arguments are equal."""
    checks.size("gates", gates)
    return _GatedInit(gates, bias, product, tuple((others or {}).items()))


@dataclass(frozen=True)
class _GatedInit:  # not a closure, so that it can be pickled
    gates: int
    bias: bool
    product: Product
    others: tuple[tuple[str, tuple[int, ...]], ...]

    def __call__(self, key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        gates, product = self.gates, self.product
        check_init(key, input_size, hidden_size, dtype)
        product.shape(hidden_size, gates)
        key_U, key_W = jax.random.split(key)
        params = {
            "U": drawn(jax.nn.initializers.glorot_uniform(), key_U, gates, (input_size, hidden_size), dtype),
            "W": product.init(key_W, hidden_size, gates, dtype),
        }
        zeros = multiples_of(hidden_size, ({"b": (gates,)} if self.bias else {}) | dict(self.others))
        return params | {name: jnp.zeros(shape, dtype) for name, (_, shape) in zeros.items()}
