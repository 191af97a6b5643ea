"""What is drawn for a run: recurrent dropout, one mask a sequence, and zoneout, one a step.

    recurrent dropout (Gal and Ghahramani 2016)   z = x U + b + (h⁻ ⊙ m) W      m = 0, or 1/(1 − rate), for all t
    zoneout (Krueger 2017)                        s = k ⊙ s⁻ + (1 − k) ⊙ s      kᵗ = 1 with probability `rate`, or 0

T time, B batch (any number of batch axes, none included), H units.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks


def check_drawn(key: jax.Array | None, *rates: Any) -> None:
    """Raises ValueError for a key where every rate is 0."""
    if key is not None and not any(rates):
        raise ValueError("key is what dropout and zoneout are drawn with: leave it out, or give a rate above 0")


def dropout_mask(key: jax.Array, rate: float, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """0 with probability `rate`, or else 1/(1 − rate), so that the mean is 1."""
    return jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) / jnp.asarray(1 - rate, dtype)


def zoneout_rates(zoneout: Any, state: Any) -> list[float]:
    """A rate for every field of the state, 0 for those of integers. Raises ValueError or TypeError for what is none."""
    if not isinstance(zoneout, tuple):
        checks.rate("zoneout", zoneout)
        return [zoneout if jnp.issubdtype(field.dtype, jnp.floating) else 0.0 for field in state]
    if type(zoneout) is not type(state):
        raise TypeError(f"zoneout must be a number, or a {type(state).__name__} of them, got {type(zoneout).__name__}")
    for name, rate, field in zip(state._fields, zoneout, state, strict=True):
        checks.rate(f"zoneout.{name}", rate)
        if rate and not jnp.issubdtype(field.dtype, jnp.floating):
            raise ValueError(f"zoneout.{name} must be 0, for {name} is of integers, got {rate}")
    return list(zoneout)


def stays(key: jax.Array | None, rates: list[float], state: Any, T: int) -> Any:
    """What of every field stays at each step, as `Marks` has it: [T, B, H] of booleans where there is a key, and
    without one their mean, [T]. None where every rate is 0."""
    if not any(rates):
        return None
    if key is None:
        return state._make(
            jnp.full(T, rate, field.dtype) if rate else jnp.zeros(T, bool)
            for rate, field in zip(rates, state, strict=True)
        )
    keys = jax.random.split(key, len(rates))
    return state._make(
        jax.random.bernoulli(k, rate, (T, *field.shape)) if rate else jnp.zeros(T, bool)
        for k, rate, field in zip(keys, rates, state, strict=True)
    )
