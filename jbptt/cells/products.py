"""How h meets the recurrent weights: h W, its way back Wᵀ δ, and ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ.

    FULL                   W [H, G·H]                    every unit sees every unit
    block_diagonal(heads)  W [heads, H/heads, G·H/heads]  a unit sees its own head: 1/heads of the weights

B batch (any number of batch axes), H units, G gates, D = H / heads units of a head.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt import checks
from jbptt._jax import types
from jbptt.feedforward.layer import accumulator, weight_gradient


class Product(NamedTuple):
    """A product of h, in which it is linear, with recurrent weights.

    - `shape(hidden_size, gates) -> (symbols, shape)`: of W. Raises ValueError for sizes that it cannot have.
    - `init(key, hidden_size, gates, dtype)`: a random W.
    - `times(h, W)`: h W, [..., H] -> [..., G·H].
    - `transposed(W)`: Wᵀ as `back` takes it, laid out once before the way back.
    - `back(delta, WT)`: Wᵀ δ, [..., G·H] -> [..., H].
    - `gradient(h_prev, delta, W)`: ∂C/∂W, Σ δ hᵀ over all leading axes, in W's shape.
    """

    shape: Callable[[int, int], tuple[str, tuple[int, ...]]]
    init: Callable[..., jax.Array]
    times: Callable[[jax.Array, jax.Array], jax.Array]
    transposed: Callable[[jax.Array], jax.Array]
    back: Callable[[jax.Array, jax.Array], jax.Array]
    gradient: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

    def __reduce__(self):  # JAX's functions cannot be pickled
        return "FULL" if self is FULL else (Product, tuple(self))


def drawn(initializer: Callable, key: jax.Array, gates: int, shape: tuple[int, ...], dtype) -> jax.Array:
    """[..., G·H]: every gate's block of `shape` [..., H] drawn by itself."""
    drawn_in = jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32  # no QR in bfloat16
    blocks = [initializer(k, shape, drawn_in).astype(dtype) for k in jax.random.split(key, gates)]
    return jnp.concatenate(blocks, axis=-1)


def _orthogonal(key, hidden_size, gates, dtype):
    """Each gate's block orthogonal (Saxe 2014)."""
    return drawn(jax.nn.initializers.orthogonal(), key, gates, (hidden_size, hidden_size), dtype)


def transposed(W: jax.Array) -> jax.Array:
    """Wᵀ of the last two axes, laid out as an array of its own: with few rows, a product with W read crosswise takes
    up to 2.5 times as long."""
    return lax.optimization_barrier(jnp.swapaxes(W, -1, -2))


FULL = Product(
    shape=lambda hidden_size, gates: ("[H, G·H]", (hidden_size, gates * hidden_size)),
    init=_orthogonal,
    times=jnp.dot,
    transposed=transposed,
    back=jnp.dot,
    gradient=lambda h_prev, delta, W: weight_gradient(h_prev, delta),
)


def block_diagonal(heads: int) -> Product:
    """Recurrence within heads only: unit n of head k sees the H/heads units of head k.

    Raises TypeError or ValueError unless `heads` is an int of at least 1.
    """
    checks.size("heads", heads)
    return FULL if heads == 1 else _block_diagonal(int(heads))


@cache
def _block_diagonal(heads):
    def shape(hidden_size, gates):
        if hidden_size % heads:
            raise ValueError(f"hidden_size must be a multiple of heads = {heads}, got {hidden_size}")
        D = hidden_size // heads
        return "[heads, H/heads, G·H/heads]", (heads, D, gates * D)

    def init(key, hidden_size, gates, dtype):
        _, (_, D, _) = shape(hidden_size, gates)
        return jnp.stack([_orthogonal(k, D, gates, dtype) for k in jax.random.split(key, heads)])

    def times(h, W):
        return _joined(_by_head(_split(h, heads), W), W.shape[1])

    def back(delta, WT):
        dh = _by_head(_gates_of_heads(delta, heads, WT.shape[2]), WT)  # [..., heads, D]
        return dh.reshape(*delta.shape[:-1], heads * WT.shape[2])

    def gradient(h_prev, delta, W):
        D = h_prev.shape[-1] // heads
        h_prev, delta = _split(h_prev, heads), _gates_of_heads(delta, heads, D)
        rows, head = tuple(range(h_prev.ndim - 2)), (h_prev.ndim - 2,)
        return lax.dot_general(  # [heads, D, G·D]
            h_prev,
            delta,
            ((rows, rows), (head, head)),
            preferred_element_type=accumulator(delta),
            out_sharding=types.contracted_sharding(h_prev, delta, heads=1),
        )

    return Product(shape, init, times, transposed, back, gradient)


def _by_head(array, W):
    """[..., heads, J] with W [heads, J, K] -> [..., heads, K]."""
    head, J = array.ndim - 2, array.ndim - 1
    products = lax.dot_general(array, W, (((J,), (1,)), ((head,), (0,))))  # [heads, ..., K]
    return jnp.moveaxis(products, 0, -2)


def _split(h, heads):  # [..., H] -> [..., heads, D]
    *batch, H = h.shape
    return h.reshape(*batch, heads, H // heads)


def _joined(by_head, D):  # [..., heads, G·D] -> [..., G·H]
    *batch, heads, GD = by_head.shape
    return jnp.swapaxes(by_head.reshape(*batch, heads, GD // D, D), -3, -2).reshape(*batch, heads * GD)


def _gates_of_heads(delta, heads, D):  # [..., G·H] -> [..., heads, G·D]
    *batch, GH = delta.shape
    G = GH // (heads * D)
    return jnp.swapaxes(delta.reshape(*batch, G, heads, D), -3, -2).reshape(*batch, heads, G * D)
