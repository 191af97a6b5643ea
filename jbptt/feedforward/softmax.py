"""y = softmax(z), so that no digits are lost where one class has all but all of it.

There Σ e^z is its largest term and next to nothing, so that log y = z − log Σ e^z and 1 − y are differences of what is
all but equal. So the largest term of Σ e^z′, z′ = z − max z, is left out of the sum, for it is 1:

    rest = Σ e^z′ − 1        log y = z′ − log(1 + rest)        1 − y = (rest + 1 − e^z′) / (1 + rest)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt.feedforward.layer import accumulator


class Softmax(NamedTuple):
    """The parts of y = softmax(z) over the last axis, in float32 at least.

    - `shifted`: z′ = z − max z [..., K].
    - `exp`: e^z′ [..., K].
    - `rest`: Σ e^z′ − 1 [..., 1].
    """

    shifted: jax.Array
    exp: jax.Array
    rest: jax.Array

    @property
    def y(self) -> jax.Array:
        return self.exp / (1 + self.rest)

    @property
    def not_y(self) -> jax.Array:
        """1 − y."""
        return (self.rest + (1 - self.exp)) / (1 + self.rest)

    @property
    def log_y(self) -> jax.Array:
        return self.shifted - jnp.log1p(self.rest)


def softmax_of(z: jax.Array) -> Softmax:
    """Of logits [..., K]; −∞ is a class of probability 0. Derivatives are right also where several are the largest."""
    wide = z.astype(accumulator(z))
    shifted = wide - lax.stop_gradient(jnp.max(wide, axis=-1, keepdims=True))  # y does not depend on what is taken off
    exp, largest = jnp.exp(shifted), (shifted == 0).astype(wide.dtype)
    rest = jnp.sum(exp - largest, axis=-1, keepdims=True) + (jnp.sum(largest, axis=-1, keepdims=True) - 1)
    return Softmax(shifted, exp, rest)
