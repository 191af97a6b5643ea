"""A batch sharded over a mesh of JAX's default kind (jax.make_mesh gives Explicit axes): the hand-derived gradients of
unroll, dense and the losses raise ShardingTypeError; vjp="auto" of unroll and dense, and a plain lax.scan, work.

Expected: gradients equal to those of one device (about 1e-7 relative), with vjp="manual" as with "auto".
"""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

import jbptt

key = jax.random.key(0)
params = jbptt.lstm.init(key, 4, 8)
xs = np.asarray(jax.random.normal(key, (6, 16, 4)))
zeros = np.zeros((16, 8), np.float32)


def cost(params, xs, state, vjp):
    return jnp.sum(jbptt.unroll(jbptt.lstm, params, xs, state, vjp=vjp)[1] ** 2)


want = jax.device_get(jax.jit(jax.grad(lambda p: cost(p, xs, jbptt.LSTMState(zeros, zeros), "auto")))(params))
mesh = jax.make_mesh((2,), ("batch",))
print("axis types of jax.make_mesh:", mesh.axis_types)


def put(array, *spec):
    return jax.device_put(array, NamedSharding(mesh, P(*spec)))


bad = 0
with jax.set_mesh(mesh):
    here = jax.tree.map(lambda a: put(np.asarray(a)), params)
    batch, state = put(xs, None, "batch"), jbptt.LSTMState(put(zeros, "batch"), put(zeros, "batch"))
    layer, rows = {"w": put(np.ones((4, 2), np.float32))}, put(xs[0], "batch")
    classes = put(np.zeros(16, np.int32), "batch")
    cases = {
        "unroll, auto": lambda: jax.jit(jax.grad(lambda p: cost(p, batch, state, "auto")))(here),
        "unroll, manual": lambda: jax.jit(jax.grad(lambda p: cost(p, batch, state, "manual")))(here),
        "dense, auto": lambda: jax.jit(jax.grad(lambda d: jbptt.dense(d, rows, vjp="auto").sum()))(layer),
        "dense, manual": lambda: jax.jit(jax.grad(lambda d: jbptt.dense(d, rows).sum()))(layer),
        "softmax_cross_entropy": lambda: jax.jit(jax.grad(lambda z: jbptt.softmax_cross_entropy(z, classes)))(rows),
        "mse": lambda: jax.jit(jax.grad(lambda z: jbptt.mse(z, 0 * z)))(rows),
    }
    for name, run in cases.items():
        try:
            got = jax.device_get(run())
            off = "" if "unroll" not in name else max(abs(got[k] - want[k]).max() / abs(want[k]).max() for k in want)
            print(f"{name}: ok {off}")
        except Exception as error:
            bad += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:110]}")
sys.exit(bool(bad))
