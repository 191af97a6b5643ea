"""Users' options, checked, as masks: which steps there are, resets, truncation.

T time, B batch (any number of batch axes, none included).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jbptt import checks


def checked_lengths(
    lengths: Any, T: int, batch: tuple[int, ...], *, name: str = "lengths", least: int = 0
) -> jax.Array:
    """`lengths` [B], int32. Raises TypeError or ValueError unless they are integers in least..T."""
    lengths = checks.array(name, lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {lengths.dtype}")
    checks.shape(name, lengths, "[B]", batch)
    checks.within(name, lengths, T, f"in {least}..T = {least}..{T}", smallest=least)
    return lengths.astype(jnp.int32)


def steps_within(lengths: jax.Array, T: int) -> jax.Array:
    """[T, B]: whether each sequence has a step t."""
    shape = (T, *lengths.shape)
    times = jnp.arange(T, dtype=jnp.int32).reshape(T, *[1] * lengths.ndim)
    return jnp.broadcast_to(times, shape) < jnp.broadcast_to(lengths, shape)


def valid_steps(lengths: Any, mask: Any, shape: tuple[int, ...]) -> jax.Array | None:
    """Which steps there are, [T, B] of that shape, by both; None: all."""
    T, *batch = shape
    valid = None if lengths is None else steps_within(checked_lengths(lengths, T, tuple(batch)), T)
    if mask is None:
        return valid
    mask = _checked_marks("mask", mask, shape)
    return mask if valid is None else mask & valid


def checked_resets(resets: Any, valid: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """`resets` [T, B] of that shape, False where there is no step."""
    resets = _checked_marks("resets", resets, shape)
    return resets if valid is None else resets & valid


def _checked_marks(name, marks, shape):
    marks = checks.array(name, marks)
    if marks.dtype != bool:
        raise TypeError(f"{name} must be booleans, got {marks.dtype}: compare, e.g. {name} != 0")
    checks.shape(name, marks, "[T, B]", shape)
    return marks


def cuts(truncate: int | None, T: int, reverse: bool, valid: jax.Array | None) -> jax.Array | None:
    """Where no gradient goes from a step to the one before it: [T]; or [T, B] where each sequence has steps of its
    own. None without truncation."""
    if truncate is None:
        return None
    checks.size("truncate", truncate)
    if truncate >= T:
        return None
    if valid is None:
        taken = jnp.asarray(np.arange(T)[::-1] if reverse else np.arange(T))
    else:
        taken = lax.cumsum(valid.astype(jnp.int32), reverse=reverse) - valid.astype(jnp.int32)
    return (taken > 0) & (taken % truncate == 0)
