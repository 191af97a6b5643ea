"""`jbptt.scan` on two CPU devices against `lax.scan`."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, mesh_of
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


def test_partitioned():
    """A batch cut over the devices by `jit`'s partitioner, which sums weights' gradients and the cost, and no more."""
    mesh = mesh_of(2)
    put = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in ((H0, P("batch")), (XS, P(None, "batch")))]
    params = jax.device_put(PARAMS, NamedSharding(mesh, P()))
    compiled = jax.jit(gradients(jbptt.scan, rnn, H0)).lower(params, *put).compile()
    found = {name: len(re.findall(rf" {name}(?:-start)?\(", compiled.as_text())) for name in COLLECTIVES}
    assert sum(found.values()) == found["all-reduce"] > 0, found
    assert_close(compiled(params, *put), gradients(lax.scan, rnn, H0)(PARAMS, H0, XS), note="partitioned")


def test_explicit():
    """Shardings in types."""
    mesh = mesh_of(2, AxisType.Explicit)
    with jax.set_mesh(mesh):
        args = PARAMS, jax.device_put(H0, P("batch")), jax.device_put(XS, P(None, "batch"))
        ours, theirs = (jax.block_until_ready(jax.jit(gradients(s, rnn, H0))(*args)) for s in (jbptt.scan, lax.scan))
        assert jax.tree.map(jax.typeof, ours) == jax.tree.map(jax.typeof, theirs)
    assert_close(ours, gradients(lax.scan, rnn, H0)(PARAMS, H0, XS), note="explicit")


@pytest.mark.parametrize("step", [rnn, branching, counting, with_literals])
def test_shard_map(step):
    """Weights that are the same on every device, met by what is not: the gradient within shard_map, and around it."""
    mesh = mesh_of(2)
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
        around_and_within = jax.jit(lambda *args: (jax.value_and_grad(cost, (0, 1, 2))(*args), within(*args)))
        return jax.block_until_ready(around_and_within(*args))  # two programs' collectives may wait for each other

    assert_close(both(jbptt.scan), both(lax.scan), note=f"shard_map, {step.__name__}")
