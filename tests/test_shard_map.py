"""A batch cut over two CPU devices by `jax.shard_map`, against the whole batch on one."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import TOLERANCE, assert_close, mesh_of
from jax import lax
from jax.sharding import PartitionSpec as P

import jbptt

T, B, I, H = 5, 6, 3, 4
KERNELS = {"backend": "cpu"} if jbptt.backends()["cpu"].available else {}
RUNS = {
    "lstm": (jbptt.lstm, {}, jnp.float64),
    "gru, checkpoint": (jbptt.gru, {"checkpoint": 2}, jnp.float64),
    "clockwork, zoneout": (jbptt.clockwork, {"zoneout": 0.3}, jnp.float64),
    "lstm, by kernels if there are some": (jbptt.lstm, KERNELS, jnp.float32),
}
SPECS = (P(), P(None, "batch"), P("batch"), P("batch"), P(None, "batch"))


@pytest.mark.full
@pytest.mark.parametrize("name", RUNS)
def test_a_batch_cut_over_devices(name):
    """First and second derivatives: weights' gradients are summed over the devices."""
    cell, options, dtype = RUNS[name]
    key = jax.random.key(0)
    params = cell.init(key, I, H, dtype)
    head = {"w": jax.random.normal(key, (H, 2), dtype)}
    floats = {"cell": params, "head": head}, jax.random.normal(key, (T, B, I), dtype)
    integers = cell.initial_state(params, (B,)), jnp.array([5, 0, 3, 2, 5, 1]), jax.random.bernoulli(key, 0.3, (T, B))

    options_of = {"manual": options, "auto": {name: value for name, value in options.items() if name != "backend"}}

    def cost(params, xs, state, lengths, resets, vjp):
        marks = {"lengths": lengths, "resets": resets}
        options = options_of[vjp]
        _, hs = jbptt.unroll(cell, params["cell"], xs, state, **marks, **options, vjp=vjp)
        return jnp.sum(jbptt.dense(params["head"], hs, vjp=vjp) ** 2)

    mesh = mesh_of(2)

    @partial(jax.shard_map, mesh=mesh, in_specs=SPECS, out_specs=P())
    def sharded(*args):
        return lax.psum(cost(*args, vjp="manual"), "batch")

    @partial(jax.shard_map, mesh=mesh, in_specs=SPECS, out_specs=(P(), P(None, "batch")))
    def gradients_within(params, xs, *others):
        return jax.grad(lambda *floats: cost(*floats, *others, vjp="manual"), (0, 1))(params, xs)

    def derivatives(cost):
        gradient = jax.grad(lambda *floats: cost(*floats, *integers), (0, 1))
        return jax.jit(lambda *floats: (gradient(*floats), jax.jvp(gradient, floats, floats)[1]))(*floats)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(None, "batch")), out_specs=(P(None, "batch"), P(None, "batch")))
    def without_a_state(params, xs):
        return tuple(jbptt.unroll(cell, params["cell"], xs, vjp=vjp)[1] for vjp in ("manual", "auto"))

    manual, auto = jax.jit(without_a_state)(*floats)
    close = partial(assert_close, tolerance=TOLERANCE[jnp.dtype(dtype).name])
    close(manual, auto, note="without a state")
    expected = derivatives(partial(cost, vjp="auto"))
    close(derivatives(sharded), expected, note="shard_map in the gradient")
    close(jax.jit(gradients_within)(*floats, *integers), expected[0], note="the gradient in shard_map")
