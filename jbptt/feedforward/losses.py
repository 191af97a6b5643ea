"""Costs C, and ∇C written by hand.

The cross entropies take logits z, with the output activation inside: that is both the stable way to compute
them (to the last digits for logits of ±1e4; −∞ is a class that is masked out) and what turns ∇_y C ⊙ f′(z) into y − t.

    mse                       C = ½ (y − t)²                      ∂C/∂y = y − t
    binary_cross_entropy      C = −t log y − (1 − t) log(1 − y)   ∂C/∂z = y − t      y = σ(z)
    softmax_cross_entropy     C = −Σ_k t_k log y_k                ∂C/∂z = y Σ_k t_k − t      y = softmax(z)

(Σ_k t_k = 1 for a distribution, which leaves y − t. The lecture's cross entropy lacks its minus sign.)

Every loss is a weighted mean or sum of such costs. A cost of weight 0 does not exist: whatever stands there,
NaN included, reaches neither the value nor any gradient.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks
from jbptt._jax import types
from jbptt.autodiff import HandDerived, Vjp
from jbptt.feedforward.softmax import softmax_of

Reduction = Literal["mean", "sum"]


class Cost(NamedTuple):
    """One cost, elementwise over rows, and its gradient: f(y, t) -> C, and vjp(y, t, ∂/∂C) -> (∂/∂y, ∂/∂t).

    The output y (or logits z) may have one axis more than C, over which C sums.
    """

    f: Callable
    vjp: Callable


def mse(
    y: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    *,
    reduction: Reduction = "mean",
    vjp: Vjp = "manual",
) -> jax.Array:
    """Half the squared error, C = ½ (y − t)², one cost an element.

    - `y`, `targets`: one shape, one dtype.
    - `weights`: broadcastable to that shape; 0 masks.
    - `reduction`: "mean" is Σ w C / Σ w (Σ w C where Σ w = 0, so 0 if every weight is 0); "sum" is Σ w C, the
      lecture's c = Σ_t cᵗ.
    - `vjp`: "manual" or "auto".

    Returns a scalar. Raises ValueError for shapes that do not fit, TypeError for integers or mixed dtypes.
    """
    y = checks.floating("y", y, "cast it")
    targets = _like_outputs(targets, y, "y")
    return _weighted(Cost(_mse, _mse_vjp), reduction, y, targets, weights_of(weights, y.shape, y), vjp)


def _mse(y, t):
    return jnp.square(y - t) / 2


def _mse_vjp(y, t, dcost):
    delta = dcost * (y - t)
    return delta, -delta


def binary_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    *,
    reduction: Reduction = "mean",
    vjp: Vjp = "manual",
) -> jax.Array:
    """Cross entropy of y = σ(z), C = −t log y − (1 − t) log(1 − y), one cost an element.

    - `logits`: z; `targets`: t in [0, 1], of the same shape and dtype.
    - `weights`, `reduction`, `vjp`: as in `mse`.

    Returns a scalar. Raises ValueError for shapes that do not fit and for targets out of range, where they are known,
    TypeError for integers or mixed dtypes.
    """
    logits = checks.floating("logits", logits, "cast it")
    targets = _like_outputs(targets, logits, "logits")
    _check_targets(targets, weights, 1, "probabilities, in 0..1")
    return _weighted(Cost(_bce, _bce_vjp), reduction, logits, targets, weights_of(weights, logits.shape, logits), vjp)


def _bce(z, t):
    # −t log σ(z) − (1 − t) log σ(−z) = log(1 + e^z) − t z = log(1 + e^−z) + (1 − t) z. One of the two is a sum of
    # what is not negative; the other cancels where a prediction is confident and right.
    below, weight = _below(z, t)
    return jnp.log1p(jnp.exp(below)) + weight * _where_it_counts(weight, z)


def _bce_vjp(z, t, dcost):
    below, weight = _below(z, t)
    e = jnp.exp(below)
    less, more = e / (1 + e), 1 / (1 + e)  # of y and 1 − y
    y, not_y = jnp.where(z > 0, more, less), jnp.where(z > 0, less, more)
    dz = (1 - t) * y - t * not_y  # y − t
    return dcost * dz, -dcost * _where_it_counts(weight, z)  # log(1 − y) − log y = −z


def _below(z, t):
    """z or −z, which is not over 0; and what its cost log(1 + e^…) lacks, over z."""
    return jnp.where(z > 0, -z, z), jnp.where(z > 0, 1 - t, -t)


def softmax_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    *,
    reduction: Reduction = "mean",
    vjp: Vjp = "manual",
) -> jax.Array:
    """Cross entropy of y = softmax(z), C = −Σ_k t_k log y_k, one cost a row.

    - `logits`: z [..., K].
    - `targets`: class indices, integers [...] in 0..K-1 (any other index makes the loss NaN); or distributions t
      [..., K] of the logits' dtype.
    - `weights`: broadcastable to [...]; 0 masks.
    - `reduction`, `vjp`: as in `mse`.

    Returns a scalar. Raises ValueError for shapes that do not fit, TypeError for mixed dtypes.
    """
    logits = checks.floating("logits", logits, "cast it")
    if logits.ndim == 0:
        raise ValueError("logits must have shape [..., K], got a scalar")
    targets, rows = checks.array("targets", targets), logits.shape[:-1]
    row_weights = weights_of(weights, rows, logits)
    if jnp.issubdtype(targets.dtype, jnp.integer):
        targets = classes_of(targets, logits, logits.shape[-1], weights)
        return _weighted(CLASS_CE, reduction, logits, targets, row_weights, vjp)
    targets = _like_outputs(targets, logits, "logits")
    return _weighted(Cost(_softmax_ce, _softmax_ce_vjp), reduction, logits, targets, row_weights, vjp)


def _softmax_ce(z, t):
    log_y = softmax_of(z).log_y.astype(z.dtype)
    return -jnp.sum(t * _where_it_counts(t, log_y), axis=-1)


def _softmax_ce_vjp(z, t, dcost):
    parts, dcost = softmax_of(z), dcost[..., None]
    y, not_y, log_y = (part.astype(z.dtype) for part in (parts.y, parts.not_y, parts.log_y))
    dz = y * (jnp.sum(t, axis=-1, keepdims=True) - t) - t * not_y  # y Σ_k t_k − t
    return dcost * dz, -dcost * _where_it_counts(t, log_y)


def _class_ce(z, classes):
    parts = softmax_of(z)
    index = jnp.clip(classes, 0, z.shape[-1] - 1)[..., None]
    cost = jnp.log1p(parts.rest) - jnp.take_along_axis(parts.shifted, index, axis=-1)
    return cost[..., 0].astype(z.dtype) * _one_for_a_class(z, classes)


def _class_ce_vjp(z, classes, dcost):
    parts = softmax_of(z)
    dz = jnp.where(jax.nn.one_hot(classes, z.shape[-1], dtype=bool), -parts.not_y, parts.y).astype(z.dtype)  # y − t
    return (dcost * _one_for_a_class(z, classes))[..., None] * dz, None  # an integer has no gradient


CLASS_CE = Cost(_class_ce, _class_ce_vjp)
"""Cross entropy of y = softmax(z), z [..., K], for classes [...]."""


def _where_it_counts(t, cost):
    """0 for what is infinite but of probability 0: it costs nothing, however impossible it is."""
    return jnp.where((t == 0) & jnp.isinf(cost), 0, cost).astype(cost.dtype)


def _one_for_a_class(z, classes):
    """1 for a class in 0..K-1; NaN for any other, so that the value and the gradient are NaN."""
    return jnp.where((classes >= 0) & (classes < z.shape[-1]), 1, jnp.nan).astype(z.dtype)


def _weighted(cost, reduction, y, t, weights, vjp):
    check_reduction(reduction)
    return _loss_by(cost, reduction, y, t, weights, vjp=vjp)


def check_reduction(reduction: str) -> None:
    """Raises ValueError for anything else than "mean" and "sum"."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")


def existing(weights: jax.Array, array: jax.Array) -> jax.Array:
    """`array` with zeros where the weight is 0, so that NaN there is never computed with."""
    absent = jnp.expand_dims(weights == 0, tuple(range(weights.ndim, array.ndim)))
    return jnp.where(jnp.broadcast_to(absent, array.shape), jnp.zeros_like(array), array)


def normaliser_of(reduction: Reduction, weights: jax.Array) -> jax.Array:
    """What the sum of w C is divided by."""
    total = jnp.sum(weights)
    return jnp.ones_like(total) if reduction == "sum" else jnp.where(total == 0, 1, total)


def _loss(cost, reduction, y, t, weights):
    costs = cost.f(existing(weights, y), existing(weights, t))
    return jnp.sum(weights * costs) / normaliser_of(reduction, weights)


def _forward_residuals(cost, reduction, y, t, weights):
    return _loss(cost, reduction, y, t, weights), None


def _backward(cost, reduction, residuals, dloss):
    y, t, weights = residuals.args
    y, t, normaliser = existing(weights, y), existing(weights, t), normaliser_of(reduction, weights)
    dy, dt = cost.vjp(y, t, dloss * weights / normaliser)
    dweights = weights_gradient(reduction, cost.f(y, t), weights, dloss)
    # dy and dt are 0 where w is; that they are constant there too is what a second derivative asks.
    dy, dt = jax.tree.map(lambda gradient: existing(weights, gradient), (dy, dt))
    return dy, dt, dweights


def weights_gradient(reduction: Reduction, costs: jax.Array, weights: jax.Array, dloss: jax.Array) -> jax.Array:
    """∂(Σ w C / Σ w)/∂w = (C − loss) / Σ w; of the sum, C."""
    normaliser = normaliser_of(reduction, weights)
    is_mean = (reduction == "mean") & (jnp.sum(weights) != 0)
    baseline = jnp.where(is_mean, jnp.sum(weights * costs) / normaliser, 0)
    return dloss * (costs - baseline) / normaliser


_loss_by = HandDerived(_loss, _forward_residuals, _backward, static=2)


def _like_outputs(targets, outputs, outputs_name):
    targets = checks.floating("targets", targets, f"cast them to {outputs.dtype}")
    checks.shape("targets", targets, f"that of {outputs_name}", outputs.shape)
    checks.same_dtype("targets", targets, outputs_name, outputs)
    return _beside(targets, outputs)


def _beside(array, outputs):
    """Targets or weights, one a row or one an output, sharded as the outputs are, where types have shardings."""
    return types.resharded(array, outputs, range(array.ndim))


def classes_of(targets: jax.Array, rows: jax.Array, K: int, weights: jax.Array | None) -> jax.Array:
    """Classes [...] beside `rows` [..., any], as integers that K can be compared with.

    Raises ValueError for another shape, and for those not in 0..K-1, where they are known and their weight is not 0.
    """
    checks.shape("targets (integers)", targets, "[...]", rows.shape[:-1])
    says = f"classes in 0..{K - 1}, as logits have K = {K} (weights mask, and no index out of range)"
    _check_targets(targets, weights, K - 1, says)
    return _beside(targets.astype(jnp.int32) if targets.dtype.itemsize < 4 else targets, rows)  # uint8 has no 256


def _check_targets(targets, weights, largest, says):
    """Of those that exist, whose weight is not 0; under jit, where they are not known, none are checked."""
    if not types.is_traced(weights):
        exist = None if weights is None else np.asarray(weights) != 0
        checks.within("targets", targets, largest, says, where=exist)


def weights_of(weights: jax.Array | None, shape: tuple[int, ...], outputs: jax.Array) -> jax.Array:
    """Of every cost, beside the outputs and of their dtype; ones for None. Raises ValueError or TypeError."""
    return _beside(_broadcast_weights(weights, shape, outputs), outputs)


def _broadcast_weights(weights, shape, outputs):
    if weights is None:
        return jnp.ones(shape, outputs.dtype)
    weights = checks.array("weights", weights)
    weights = weights.astype(outputs.dtype) if weights.dtype == bool else weights
    weights = checks.floating("weights", weights, "cast them")
    checks.same_dtype("weights", weights, "the outputs", outputs)
    try:
        return jnp.broadcast_to(weights, shape)
    except ValueError:
        raise ValueError(f"weights must broadcast to {list(shape)}, got {list(weights.shape)}") from None
