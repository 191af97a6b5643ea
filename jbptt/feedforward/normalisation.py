"""Layer normalisation (Ba 2016) without its gain and bias, and its way back.

y = (x − μ) s        μ = mean(x)        s = 1 / √(mean((x − μ)²) + ε)
dx = s (dy − mean(dy) − y mean(dy ⊙ y))          means over the last axis
"""

import jax
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5
"""Added to the variance, as flax, haiku and PyTorch do."""


def normalise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(y, s): x [..., N] -> y [..., N], s [..., 1]."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    s = lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + jnp.asarray(EPSILON, x.dtype))
    return x * s, s


def normalise_vjp(y: jax.Array, s: jax.Array, dy: jax.Array) -> jax.Array:
    """∂C/∂x from ∂C/∂y, and from what the forward gave."""
    dy_mean = jnp.mean(dy, axis=-1, keepdims=True)
    return s * (dy - dy_mean - y * jnp.mean(dy * y, axis=-1, keepdims=True))
