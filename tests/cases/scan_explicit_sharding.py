"""Sharding in types (AxisType.Explicit): lax.scan runs forward and back with a sharded batch. jbptt.unroll raises TypeError in the
forward (its initial state is not sharded) and jbptt.scan ShardingTypeError in the gradient. Expected: the unsharded values."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import jax.numpy as jnp
import numpy as np

import jbptt

W = jax.random.normal(jax.random.key(0), (8, 8)) / 3
p = jbptt.lstm.init(jax.random.key(1), 8, 8)
xs, h0 = jax.random.normal(jax.random.key(2), (5, 4, 8)), jnp.zeros((4, 8))


def f(h, x):
    h = jnp.tanh(h @ W + x)
    return h, h


RUNS = {
    "lax.scan": lambda xs, h: jax.lax.scan(f, h, xs)[1],
    "jbptt.scan": lambda xs, h: jbptt.scan(f, h, xs)[1],
    "unroll": lambda xs, h: jbptt.unroll(jbptt.lstm, p, xs, backend="xla")[1],
    "unroll, state given": lambda xs, h: jbptt.unroll(jbptt.lstm, p, xs, jbptt.LSTMState(h, h), backend="xla")[1],
    "unroll, vjp=auto, state given": lambda xs, h: jbptt.unroll(
        jbptt.lstm, p, xs, jbptt.LSTMState(h, h), backend="xla", vjp="auto"
    )[1],
}
want = {n: (r(xs, h0), jax.grad(lambda x: r(x, h0).sum())(xs)) for n, r in RUNS.items()}
mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
print("make_mesh's default:", jax.make_mesh((2,), ("d",)).axis_types)
with jax.set_mesh(mesh):
    x, h = jax.device_put(xs, jax.P(None, "d", None)), jax.device_put(h0, jax.P("d", None))
    for name, run in RUNS.items():
        for n, (what, fn) in enumerate({"forward": run, "gradient": jax.grad(lambda x, h: run(x, h).sum())}.items()):
            try:
                got = jax.jit(fn)(x, h)
                print(name, what, "OK" if np.allclose(got, want[name][n], atol=1e-5) else "FAIL: values")
            except Exception as e:
                print(name, what, "FAIL", type(e).__name__, str(e)[:130].replace("\n", " "))
