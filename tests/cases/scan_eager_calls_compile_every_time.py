"""jbptt.scan and jbptt.unroll called outside jit compile anew at every call; lax.scan of the same function once (jax tests count
lowerings). Expected: 0 lowerings in a second call with the same function and shapes."""

import time

import jax
import jax.numpy as jnp
from jax._src import test_util as jtu

import jbptt

W = jax.random.normal(jax.random.key(0), (64, 64)) / 8


def f(h, x):
    h = jnp.tanh(h @ W + x)
    return h, h


h0, xs = jnp.zeros(64), jnp.ones((10, 64))
p, xb = jbptt.lstm.init(jax.random.key(0), 64, 64), jnp.ones((10, 4, 64))
CALLS = {
    "lax.scan": lambda: jax.lax.scan(f, h0, xs),
    "jbptt.scan": lambda: jbptt.scan(f, h0, xs),
    "jbptt.scan, body without products": lambda: jbptt.scan(no_product, h0, xs),
    "unroll, xla": lambda: jbptt.unroll(jbptt.lstm, p, xb, backend="xla"),
    "unroll, native": lambda: jbptt.unroll(jbptt.lstm, p, xb, backend="native"),
}
no_product = lambda h, x: (h + x, h)
for name, call in CALLS.items():
    jax.block_until_ready(call())
    with jtu.count_jit_and_pmap_lowerings() as count:
        start = time.perf_counter()
        jax.block_until_ready(call())
        ms = (time.perf_counter() - start) * 1e3
    print(f"{name}: second call {ms:.1f} ms, {count()} lowerings", "OK" if count() == 0 else "FAIL, expected 0")
