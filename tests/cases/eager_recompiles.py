"""Without jit, every call of unroll (scan path), and of jbptt.scan with one and the same body, compiles anew and keeps
about 2 MiB for good (jax.clear_caches does not give it back). lax.scan of one and the same body compiles once.

Expected: no compilation, and no growth, after the first call of the same shapes.
"""

import sys
import time

import jax
import jax.numpy as jnp
from jax import lax, monitoring

import jbptt

compiled = [0]


def count(event, *_, **__):
    compiled[0] += event == "/jax/core/compile/backend_compile_duration"


monitoring.register_event_duration_secs_listener(count)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


key = jax.random.key(0)
params, xs = jbptt.lstm.init(key, 4, 8), jax.random.normal(key, (5, 2, 4))
W, hs = jax.random.normal(key, (48, 48)) / 10, jax.random.normal(key, (5, 2, 48))


def body(h, x):
    h = jnp.tanh(h @ W + x)
    return h, h


bad = 0
for name, run in {
    "lax.scan": lambda: lax.scan(body, hs[0], hs),
    "jbptt.scan": lambda: jbptt.scan(body, hs[0], hs),
    "unroll": lambda: jbptt.unroll(jbptt.lstm, params, xs),
    "unroll of one step": lambda: jbptt.unroll(jbptt.lstm, params, xs[:1]),
}.items():
    jax.block_until_ready(run()), jax.block_until_ready(run())
    before, grown, start, n = compiled[0], resident(), time.perf_counter(), 20
    for _ in range(n):
        jax.block_until_ready(run())
    each = (compiled[0] - before) / n
    bad += each > 0
    print(
        f"{name:20} {each:.1f} compilations a call, {(time.perf_counter() - start) / n * 1e3:.0f} ms, "
        f"{(resident() - grown) / n:+.2f} MiB a call"
    )
sys.exit(bool(bad))
