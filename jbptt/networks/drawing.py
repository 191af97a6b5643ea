"""Drawing a token from logits: at a temperature, from the likeliest alone (Fan 2018, top k; Holtzman 2020, top p).

V tokens.
"""

import jax
import jax.numpy as jnp

from jbptt.feedforward.layer import accumulator
from jbptt.feedforward.softmax import softmax_of


def drawn(temperature: jax.Array | float, key: jax.Array, logits: jax.Array) -> jax.Array:
    """A token [...] with the probabilities softmax(logits / temperature), logits [..., V]."""
    return jax.random.categorical(key, _at(temperature, logits))


def drawn_of_likeliest(
    temperature: jax.Array | float,
    top_k: jax.Array | int,
    top_p: jax.Array | float,
    key: jax.Array,
    logits: jax.Array,
) -> jax.Array:
    """As `drawn`, of the `likeliest` alone."""
    logits = _at(temperature, logits)
    is_of_all = jnp.logical_and(top_k >= logits.shape[-1], top_p >= 1)  # then nothing is sorted: most of the time
    kept = jax.lax.cond(is_of_all, lambda logits: logits, lambda logits: likeliest(logits, top_k, top_p), logits)
    return jax.random.categorical(key, kept)


def likeliest(logits: jax.Array, top_k: jax.Array | int, top_p: jax.Array | float) -> jax.Array:
    """Logits [..., V], −∞ but for the k largest, and of those but for the fewest whose probabilities, among the k, sum
    to p or more. What is as likely as the last that is kept is kept with it."""
    descending = -jnp.sort(-logits, axis=-1)
    rank = jnp.broadcast_to(jnp.arange(logits.shape[-1]), logits.shape)
    of_k = jnp.where(rank < top_k, descending, -jnp.inf).astype(logits.dtype)
    y = softmax_of(of_k).y
    likelier = jnp.cumsum(y, axis=-1) - y
    is_kept = (rank < top_k) & ((likelier < top_p) | (top_p >= 1) | (rank == 0))
    least = jnp.min(jnp.where(is_kept, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least.astype(logits.dtype), logits, -jnp.inf).astype(logits.dtype)


def _at(temperature, logits):
    wide = logits.astype(accumulator(logits))
    return wide / jnp.asarray(temperature, wide.dtype)
