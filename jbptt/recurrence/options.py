"""Users' options, checked, as masks: lengths, resets, truncation.

T time, B batch (any number of batch axes, none included).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks


def checked_lengths(lengths: Any, T: int, batch: tuple[int, ...]) -> jax.Array:
    """`lengths` [B], int32. Raises TypeError or ValueError unless they are integers in 0..T."""
    lengths = checks.array("lengths", lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be integers, got {lengths.dtype}")
    checks.shape("lengths", lengths, "[B]", batch)
    checks.within("lengths", lengths, T, f"in 0..T = 0..{T}")
    return lengths.astype(jnp.int32)


def steps_within(lengths: jax.Array, T: int) -> jax.Array:
    """[T, B]: whether each sequence has a step t."""
    return _steps_left(lengths, T) > 0


def _steps_left(lengths, T):
    """length − t, [T, B]."""
    shape = (T, *lengths.shape)
    times = jnp.arange(T, dtype=jnp.int32).reshape(T, *[1] * lengths.ndim)
    return jnp.broadcast_to(lengths, shape) - jnp.broadcast_to(times, shape)


def checked_resets(resets: Any, valid: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """`resets` [T, B] of that shape, False past the end of a sequence."""
    resets = checks.array("resets", resets)
    if resets.dtype != bool:
        raise TypeError(f"resets must be booleans, got {resets.dtype}: compare, e.g. resets != 0")
    checks.shape("resets", resets, "[T, B]", shape)
    return resets if valid is None else resets & valid


def cuts(truncate: int | None, T: int, reverse: bool, ends: jax.Array | None) -> jax.Array | None:
    """Where no gradient goes from a step to the one before it: [T]; or [T, B] where each sequence begins at an end of
    its own. None without truncation."""
    if truncate is None:
        return None
    checks.size("truncate", truncate)
    if truncate >= T:
        return None
    if ends is not None:
        taken = _steps_left(ends, T) - 1
    else:
        taken = jnp.asarray(np.arange(T)[::-1] if reverse else np.arange(T))
    return (taken > 0) & (taken % truncate == 0)
