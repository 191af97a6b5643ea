"""Mixed precision: parameters of one dtype, steps computed in another.

The cotangents of parameters come out of a backward pass as sums of at least float32, and are cast to the parameters'
dtype once, at its end: parameters in float32 get those sums as they are, whatever the steps were computed in.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_map_with_path

from jbptt import checks
from jbptt.recurrence.inputs import Inputs


def in_dtype(tree: Any, dtype: Any) -> Any:
    """The pytree with its floating point arrays cast; everything else as it is."""

    def cast(leaf):
        is_float = jnp.issubdtype(getattr(leaf, "dtype", jnp.int32), jnp.floating)
        return leaf.astype(dtype) if is_float and leaf.dtype != dtype else leaf

    return jax.tree.map(cast, tree)


def as_computed(inputs: Inputs) -> Inputs:
    """The inputs with all that steps share in the dtype of the state, in which steps are computed."""
    return inputs._replace(consts=in_dtype(inputs.consts, inputs.state.h.dtype))


def floating_arrays(**trees: Any) -> list[Any]:
    """The pytrees, of JAX's arrays. Raises TypeError, naming the leaf, for float16 and what is no array."""

    def checked(name, leaf):
        array = checks.array(name, leaf)
        return checks.floating(name, array, "") if jnp.issubdtype(array.dtype, jnp.floating) else array

    return [
        tree_map_with_path(lambda path, leaf, name=name: checked(name + keystr(path), leaf), tree)
        for name, tree in trees.items()
    ]
