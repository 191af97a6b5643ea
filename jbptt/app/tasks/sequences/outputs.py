"""What a model says of a sequence, and what that costs: a number or a class at its end, classes or bits at each step.

T time, B batch, K outputs. An item is what has a cost: a sequence, or one of its steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.feedforward.losses import binary_cross_entropy, mse, softmax_cross_entropy


class Output(NamedTuple):
    """A kind of output.

    - `size`: K.
    - `item`: what an item is called.
    - `at_end`: whether there is one output a sequence, [B, K], or one a step, [T, B, K].
    - `loss`: what an item's cost is, one of metrics.py's UNITS.
    - `total(z, targets, weights, vjp)`: Σ w C over the items, weights [B] or [T, B].
    - `right(z, targets)`: of which items the model is right, [B] or [T, B].
    """

    size: int
    item: str
    at_end: bool
    loss: str
    total: Callable[[jax.Array, Any, jax.Array, Any], jax.Array]
    right: Callable[[jax.Array, Any], jax.Array]

    @property
    def figures(self) -> tuple[str, ...]:
        """What is measured on held-out sequences: the mean cost of an item; "accuracy", the share of items that are
        right; and where there are several in a sequence, "exact", the share of sequences of which all are."""
        return (self.loss, "accuracy") if self.at_end else (self.loss, "accuracy", "exact")


def number_at_end(tolerance: float) -> Output:
    """A number, and its squared error. Targets: floats [B]. Right is what is nearer than the tolerance."""

    def total(z, targets, weights, vjp):
        return 2 * mse(z[:, 0], targets.astype(z.dtype), weights, reduction="sum", vjp=vjp)  # of ½ (y − t)²

    return Output(1, "sequence", True, "squared_error", total, lambda z, targets: abs(z[:, 0] - targets) < tolerance)


def class_at_end(classes: int) -> Output:
    """A class, and its cross entropy. Targets: integers [B]."""
    return Output(classes, "sequence", True, "nats", _class_total, _class_right)


def class_at_each_step(classes: int, item: str) -> Output:
    """A class at each step, and their cross entropy. Targets: integers [T, B]."""
    return Output(classes, item, False, "nats", _class_total, _class_right)


def bits_at_each_step(size: int, item: str) -> Output:
    """K independent bits at each step, and the cross entropy of all of them. Targets: zeros and ones [T, B, K]."""

    def total(z, targets, weights, vjp):
        return binary_cross_entropy(z, targets.astype(z.dtype), weights[..., None], reduction="sum", vjp=vjp)

    return Output(size, item, False, "nats", total, lambda z, targets: jnp.all((z > 0) == (targets > 0), axis=-1))


def _class_total(z, targets, weights, vjp):
    return softmax_cross_entropy(z, targets, weights, reduction="sum", vjp=vjp)


def _class_right(z, targets):
    return jnp.argmax(z, axis=-1) == targets
