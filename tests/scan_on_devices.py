"""`jbptt.scan` on two CPU devices against `lax.scan`: exits with 0 if all is the same.

Run by test_scan_like_lax.py in a process of its own, for the number of devices is fixed when JAX begins.
"""

import re
from functools import partial

import jax

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # two programs' collectives may wait for each other
    jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
from helpers import assert_close
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jbptt

T, B, I, H = 3, 8, 16, 32
KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = jax.random.normal(KEYS[0], (I, H)) / 5, jax.random.normal(KEYS[1], (H, H)) / 5
XS, H0 = jax.random.normal(KEYS[2], (T, B, I)), jax.random.normal(KEYS[3], (B, H))
COLLECTIVES = ("all-gather", "all-to-all", "collective-permute", "all-reduce")


def rnn(params, h, x):
    u, w = params
    h = jnp.tanh(x @ u + h @ w)
    return h, h


def branching(params, h, x):
    """A branch that was traced of a weight that is the same on every device, and that all of them take."""
    h = lax.cond(params[0][0, 0] > -9, lambda h, w: jnp.tanh(h @ w), lambda h, w: h, h, params[1])
    return rnn(params, jax.nn.relu(h), x)


def counting(params, carry, x):
    """A carry that is the same on every device."""
    h, _ = rnn(params, carry[0], x)
    return (h, carry[1] + jnp.sum(params[1]) * 0.1), h


def with_literals(params, h, x):
    """Arithmetic of constants and numbers alone."""
    u, w = params
    return rnn((u * 2.0, w / (1.0 + jnp.abs(w)) + jnp.eye(H)), h, x)


def gradients(scan, step, init):
    def cost(params, init, xs):
        return jnp.sum(scan(partial(step, params), init, xs)[1] ** 2)

    return jax.value_and_grad(cost, (0, 1, 2))


def check_partitioned():
    """A batch cut over the devices by `jit`'s partitioner, which sums weights' gradients and the cost, and no more."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    put = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in ((H0, P("batch")), (XS, P(None, "batch")))]
    params = jax.device_put(PARAMS, NamedSharding(mesh, P()))
    compiled = jax.jit(gradients(jbptt.scan, rnn, H0)).lower(params, *put).compile()
    found = {name: len(re.findall(rf" {name}(?:-start)?\(", compiled.as_text())) for name in COLLECTIVES}
    assert sum(found.values()) == found["all-reduce"] > 0, found
    assert_close(compiled(params, *put), gradients(lax.scan, rnn, H0)(PARAMS, H0, XS), note="partitioned")


def check_explicit():
    """Shardings in types."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        args = PARAMS, jax.device_put(H0, P("batch")), jax.device_put(XS, P(None, "batch"))
        ours, theirs = (jax.jit(gradients(scan, rnn, H0))(*args) for scan in (jbptt.scan, lax.scan))
        assert jax.tree.map(jax.typeof, ours) == jax.tree.map(jax.typeof, theirs)
    assert_close(ours, gradients(lax.scan, rnn, H0)(PARAMS, H0, XS), note="explicit")


def check_shard_map(step):
    """Weights that are the same on every device, met by what is not: the gradient within shard_map, and around it."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    init, specs = ((H0, jnp.zeros(())), (P("batch"), P())) if step is counting else (H0, P("batch"))
    sharded = partial(jax.shard_map, mesh=mesh, in_specs=(P(), specs, P(None, "batch")))

    def both(scan):
        @partial(sharded, out_specs=(specs, P(None, "batch")))
        def run(params, init, xs):
            return scan(partial(step, params), init, xs)

        @partial(sharded, out_specs=P())
        def within(params, init, xs):
            return jax.grad(lambda params: jnp.sum(scan(partial(step, params), init, xs)[1] ** 2))(params)

        def cost(*args):
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(*args)))

        args = PARAMS, init, XS
        return jax.jit(lambda *args: (jax.value_and_grad(cost, (0, 1, 2))(*args), within(*args)))(*args)

    assert_close(both(jbptt.scan), both(lax.scan), note=f"shard_map, {step.__name__}")


if __name__ == "__main__":
    assert jax.device_count() == 2
    check_partitioned()
    check_explicit()
    for step in (branching, counting, with_literals):
        check_shard_map(step)
