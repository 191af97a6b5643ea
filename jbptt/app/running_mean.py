"""The mean of losses, kept on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RunningMean(NamedTuple):
    """The mean of the losses since the last report. On the device, for reading each loss would make every step wait."""

    total: jax.Array
    count: jax.Array

    @classmethod
    def empty(cls) -> "RunningMean":
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def add(self, value: jax.Array) -> "RunningMean":
        return RunningMean(self.total + value.astype(jnp.float32), self.count + 1)

    def value(self) -> float:
        return float(self.total) / max(1, int(self.count))
