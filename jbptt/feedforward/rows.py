"""One-hot rows without their products: e_i w is a row of w, and Σ δ e_iᵀ a sum of δ for each i.

T time, B batch (any number of batch axes), I inputs, O outputs.
"""

import jax
import jax.numpy as jnp

from jbptt._jax import types
from jbptt.feedforward.layer import accumulator, weight_gradient


def is_index(xs: jax.Array | jax.ShapeDtypeStruct) -> bool:
    """Whether these are integers, each in the place of a one-hot row."""
    return jnp.issubdtype(xs.dtype, jnp.integer)


def rows_of(w: jax.Array, indices: jax.Array) -> jax.Array:
    """e_i w: of w [I, O] the rows of these integers [...], as [..., O]; zeros for what is not in 0..I-1."""
    sharding = types.sharding_like(indices, [*range(indices.ndim), None])  # which JAX does not find by itself
    return w.at[_none_from_the_end(indices, w.shape[0])].get(mode="fill", fill_value=0, out_sharding=sharding)


def rows_gradient(indices: jax.Array, delta: jax.Array, number: int) -> jax.Array:
    """∂C/∂w = Σ δ e_iᵀ, [I, O] of I = `number`, over all leading axes of δ [..., O].

    Sums in float32 at least, and gives them so.
    """
    if types.explicit_spec(delta) is not None:  # where JAX has no sum for each i
        return weight_gradient(jax.nn.one_hot(indices, number, dtype=delta.dtype), delta)
    sums = jnp.zeros((number, delta.shape[-1]), accumulator(delta))
    return sums.at[_none_from_the_end(indices, number)].add(delta.astype(sums.dtype), mode="drop")


def _none_from_the_end(indices, number):
    """What is below 0 as what is past the end, for NumPy's indices, and so JAX's, begin there again."""
    return jnp.where(indices < 0, number, indices)
