"""What is drawn for a run: recurrent dropout, one mask a sequence, and zoneout and noise, at each step.

    recurrent dropout (Gal and Ghahramani 2016)   z = x U + b + (h⁻ ⊙ m) W      m = 0, or 1/(1 − rate), for all t
    zoneout (Krueger 2017)                        s = k ⊙ s⁻ + (1 − k) ⊙ s      kᵗ = 1 with probability `rate`, or 0
    noise (Song 2016)                             z = x U + b + h⁻ W + σ ξᵗ     ξᵗ ~ N(0, 1)

T time, B batch (any number of batch axes, none included), H units.
"""

from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt._jax import types
from jbptt.cells.rule import Rule
from jbptt.recurrence.inputs import Inputs
from jbptt.recurrence.precision import as_computed


def dropout_mask(key: jax.Array, rate: float, like: jax.Array) -> jax.Array:
    """0 with probability `rate`, or else 1/(1 − rate), so that the mean is 1; of the shape, dtype and sharding of
    `like`."""
    return _drawn(key, 1 - rate, like).astype(like.dtype) / jnp.asarray(1 - rate, like.dtype)


def dropped(key: jax.Array | None, rate: float, array: jax.Array) -> jax.Array:
    """The array under dropout; as it is without a key, for evaluation, or at a rate of 0."""
    return array if key is None or not rate else array * dropout_mask(key, rate, array)


def _drawn(key, rate, like, *first):
    """Booleans, [*first, *like.shape]: each device draws those of its own part of the batch."""
    sharding = types.sharding_like(like, [*[None] * len(first), *range(like.ndim)])
    return jax.random.bernoulli(key, rate, (*first, *like.shape), out_sharding=sharding)


def with_noise(rule: Rule, inputs: Inputs, deviation: Any, key: jax.Array | None) -> Inputs:
    """The inputs with what is added to every z; each device draws that of its own part.

    Raises TypeError or ValueError for a deviation that is no number, or below 0.
    """
    checks.finite("noise", deviation)
    if not types.is_traced(deviation) and deviation < 0:
        raise ValueError(f"noise must be a deviation, at least 0, got {deviation}")
    if key is None or (not types.is_traced(deviation) and deviation == 0):
        return inputs
    zs = jax.eval_shape(rule.project, as_computed(inputs).consts, inputs.xs)
    key = jax.random.fold_in(key, 2)  # dropout and zoneout are drawn with the key's halves
    drawn = jax.random.normal(key, zs.shape, zs.dtype, out_sharding=types.sharding_like(zs, range(zs.ndim)))
    return inputs._replace(masks=inputs.masks._replace(noise=jnp.asarray(deviation, zs.dtype) * drawn))


def zoneout_rates(zoneout: Any, state: Any) -> list[Real | float]:
    """A rate for every leaf of the state, 0 for those of integers. Raises ValueError or TypeError for what is none."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    if isinstance(zoneout, Real):
        checks.rate("zoneout", zoneout)
        return [zoneout if jnp.issubdtype(leaf.dtype, jnp.floating) else 0.0 for _, leaf in leaves]
    rates, structure = jax.tree.flatten(zoneout)
    if structure != jax.tree.structure(state):
        raise TypeError(f"zoneout must be a number, or {type(state).__name__}(...) of them, got {zoneout!r}")
    for rate, (path, leaf) in zip(rates, leaves, strict=True):
        name = "zoneout" + jax.tree_util.keystr(path)
        checks.rate(name, rate)
        if rate and not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{name} must be 0, for it is the rate of integers, got {rate}")
    return rates


def zoneout_masks(key: jax.Array | None, rates: list[Real | float], state: Any, T: int) -> Any:
    """What of every leaf stays at each step, as `Masks` has it: [T, B, H] of booleans where there is a key, and without
    one their mean, [T]. None where every rate is 0."""
    if not any(rates):
        return None
    leaves, structure = jax.tree.flatten(state)
    keys = [None] * len(rates) if key is None else jax.random.split(key, len(rates))

    def of_leaf(key, rate, leaf):
        if rate == 0:
            return jnp.zeros(T, bool)
        return jnp.full(T, rate, leaf.dtype) if key is None else _drawn(key, rate, leaf, T)

    return jax.tree.unflatten(structure, map(of_leaf, keys, rates, leaves))
