"""Sequences of different lengths as one padded batch.

T time, B batch.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jbptt import checks


def pad(sequences: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """(xs [T, B, ...], lengths [B] int32): a batch with zeros past each sequence's end, as `unroll` takes it.

    - `sequences`: B arrays [length, ...], alike in all but their length; T is the longest's.

    Raises ValueError for no sequences, or for those that differ in more, TypeError if they differ in dtype.
    """
    if not isinstance(sequences, Sequence) or not sequences:
        raise ValueError(f"sequences must be a list of at least one array, got {type(sequences).__name__}")
    arrays = [checks.array(f"sequences[{n}]", sequence) for n, sequence in enumerate(sequences)]
    for n, array in enumerate(arrays):
        if array.ndim == 0:
            raise ValueError(f"sequences[{n}] must have shape [length, ...], got a scalar")
        checks.shape(f"sequences[{n}]", array, "[length, ...]", (array.shape[0], *arrays[0].shape[1:]))
        checks.same_dtype(f"sequences[{n}]", array, "sequences[0]", arrays[0])
    T = max(array.shape[0] for array in arrays)
    padded = [jnp.pad(array, [(0, T - array.shape[0]), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]
    return jnp.stack(padded, axis=1), jnp.array([array.shape[0] for array in arrays], jnp.int32)
