"""The output layer and its cross entropy in one, for many classes: never all logits at once.

    z = x w + b        C = log Σ_k e^{z_k} − z_t        δ = y − t        ∂C/∂w = Σ δ xᵀ        ∂C/∂x = wᵀ δ

The cost is a sum over rows, so that some rows at a time do: their logits are formed, their costs, and, where gradients
will be asked for, at once their δ and its products, scaled by the cotangent of the loss, a number, on the way back. So
each logit is formed once and lives for as long as its rows take. Of T·B rows, I inputs and K classes that keeps
T·B·I + I·K numbers for the backward pass, whatever a plain program keeps of its T·B·K logits.

T time, B batch (any number of batch axes), I inputs, K classes.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt import checks
from jbptt.autodiff import HandDerived, Residuals, Vjp
from jbptt.feedforward.layer import Params, accumulator, affine_vjp, check_layer
from jbptt.feedforward.losses import (
    CLASS_CE,
    Reduction,
    check_reduction,
    classes_of,
    existing,
    normaliser_of,
    weights_gradient,
    weights_of,
)

LOGITS_AT_ONCE = 2**18
"""One mebibyte of them: benchmarks/NOTES.md."""


class How(NamedTuple):
    """- `reduction`: "mean" or "sum".
    - `steps`: of the first axis, at once.
    - `of_params`, `of_x`: whose gradients anybody asks for.
    """

    reduction: Reduction
    steps: int
    of_params: bool = True
    of_x: bool = True


class Sums(NamedTuple):
    """Over some rows: Σ w C, and its gradient with respect to the params, where wanted."""

    cost: jax.Array
    dparams: Params | None


class EachRow(NamedTuple):
    """Of each row: C [...], and ∂(Σ w C)/∂x [..., I], where wanted."""

    costs: jax.Array
    dx: jax.Array | None


def dense_softmax_cross_entropy(
    params: Params,
    x: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    *,
    reduction: Reduction = "mean",
    vjp: Vjp = "manual",
    chunk: int | None = None,
) -> jax.Array:
    """`softmax_cross_entropy(dense(params, x), targets, weights)` that never holds all logits.

    - `params`: {"w" [I, K], "b" [K]}; without "b" there is no bias.
    - `x`: [..., I], of the params' dtype (float32, float64 or bfloat16).
    - `targets`: class indices, integers [...] in 0..K-1 (any other index makes the loss NaN).
    - `weights`: broadcastable to [...]; 0 masks: no gradient comes of such a row, whatever its x.
    - `reduction`, `vjp`: as in `mse`. "auto" keeps all logits for JAX's derivative.
    - `chunk`: how many steps of the first axis (of T, for x [T, B, I]) at once; None: as many as have 2¹⁸ logits, and
      at least one, so that x [N, I] takes less memory than [1, N, I]. It should not be an axis that is sharded over
      devices.

    Returns a scalar of x's dtype, summed in float32 at least. Raises ValueError for shapes that do not fit and for
    classes out of range, where they are known; TypeError for distributions in the place of classes, for which the two
    functions serve, for mixed dtypes, and for a chunk that is no integer.
    """
    x = checks.floating("x", x, checks.FLOATS_FROM_INDICES)
    check_layer(params, "params", x, "x")
    check_reduction(reduction)
    targets, K = checks.array("targets", targets), params["w"].shape[1]
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(
            f"targets must be class indices, integers [...], got {targets.dtype}: distributions are for "
            "jbptt.softmax_cross_entropy(jbptt.dense(params, x), targets)"
        )
    row_weights = weights_of(weights, x.shape[:-1], x).astype(accumulator(x))
    classes = classes_of(targets, x, K, weights)
    if x.ndim == 1:  # one row
        x, classes, row_weights = x[None], classes[None], row_weights[None]
    how = How(reduction, _steps_at_once(chunk, x.shape[:-1], K))
    return _loss_by(how, dict(params), x, classes, row_weights, vjp=vjp).astype(x.dtype)


def _steps_at_once(chunk, rows, K):
    if chunk is None:
        chunk = LOGITS_AT_ONCE // max(1, K * math.prod(rows[1:]))
    else:
        checks.size("chunk", chunk)
    return max(1, min(chunk, rows[0]))


def _logits(params, x, weights):
    z = jnp.dot(x, params["w"], preferred_element_type=accumulator(x))
    z = z + jnp.broadcast_to(params["b"], z.shape).astype(z.dtype) if "b" in params else z
    return existing(weights, z)


def _costs(how, params, x, classes, weights):
    """(`Sums`, `EachRow`) of some rows, with no gradients."""
    costs = CLASS_CE.f(_logits(params, x, weights), classes)
    return Sums(jnp.sum(weights * costs), None), EachRow(costs, None)


def _costs_and_gradients(how, params, x, classes, weights):
    """(`Sums`, `EachRow`) of some rows."""
    z = _logits(params, x, weights)
    costs = CLASS_CE.f(z, classes)
    delta = CLASS_CE.vjp(z, classes, weights)[0].astype(x.dtype)  # w (y − t)
    delta = existing(weights, delta)  # 0 there, and constant, as a second derivative asks
    dparams, dx = affine_vjp(params, x, delta)
    sums = Sums(jnp.sum(weights * costs), dparams if how.of_params else None)
    return sums, EachRow(costs, dx if how.of_x else None)


def _over_chunks(of_rows, how, params, x, classes, weights):
    """(`Sums`, `EachRow`) of all rows: what is more than whole chunks comes first."""
    rows = (existing(weights, x), existing(weights, classes), weights)
    first = x.shape[0] % how.steps or how.steps
    sums, each = of_rows(how, params, *[array[:first] for array in rows])
    if first >= x.shape[0]:
        return sums, each

    def add(sums, rows):
        more, each = of_rows(how, params, *rows)
        return jax.tree.map(jnp.add, sums, more), each

    chunks = [array[first:].reshape(-1, how.steps, *array.shape[1:]) for array in rows]
    sums, others = lax.scan(add, sums, chunks)

    def all_of(head, tail):
        return jnp.concatenate([head, tail.reshape(-1, *tail.shape[2:])])

    return sums, jax.tree.map(all_of, each, others)


def _loss(how, params, x, classes, weights):
    sums, _ = _over_chunks(_costs, how, params, x, classes, weights)
    return sums.cost / normaliser_of(how.reduction, weights)


def _forward_residuals(how, params, x, classes, weights):
    sums, each = _over_chunks(_costs_and_gradients, how, params, x, classes, weights)
    return sums.cost / normaliser_of(how.reduction, weights), (sums.dparams, each)


def _backward(how, residuals: Residuals, dloss):
    *_, weights = residuals.args
    dparams, each = residuals.saved
    scale = dloss / normaliser_of(how.reduction, weights)
    dparams, dx = jax.tree.map(lambda gradient: scale.astype(gradient.dtype) * gradient, (dparams, each.dx))
    return dparams, dx, None, weights_gradient(how.reduction, each.costs, weights, dloss)


def _narrowed(how, perturbed):
    of_params, of_x, *_ = perturbed
    return (how._replace(of_params=any(of_params.values()), of_x=of_x),)


_loss_by = HandDerived(_loss, _forward_residuals, _backward, static=1, narrowed=_narrowed)
