"""The machine's floor: how fast it multiplies two large square matrices, measured in the same run."""

import contextlib
import time

import jax
import jax.numpy as jnp
import numpy as np

PRODUCT_SIZE = 2048
REPEATS = 5


def jax_peak_gflops(dtype=jnp.float32, precision: str | None = None, n: int = PRODUCT_SIZE) -> float:
    """The best of REPEATS, in 10⁹ floating point operations a second."""
    a = jnp.ones((n, n), dtype)
    with jax.default_matmul_precision(precision) if precision else contextlib.nullcontext():
        product = jax.jit(jnp.dot).lower(a, a).compile()
    best = np.inf
    for _ in range(REPEATS + 1):
        jax.block_until_ready(a)
        start = time.perf_counter()
        jax.block_until_ready(product(a, a))
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9
