"""Beside a GPU: which device runs a program decides between kernels and scan, not which devices there are.

On such a machine all the other tests run on the GPU; this one also on its CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt

KERNELS = jbptt.backends()["cpu"].available
T, B, H = 20, 32, 64
"""Large enough for kernels."""


def loss(params, xs):
    return jnp.sum(jnp.square(jbptt.unroll(jbptt.lstm, params, xs)[1]))


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU, or this JAX knows none")
def test_each_device_has_its_own_program():
    step = jax.jit(jax.value_and_grad(loss))
    results = {}
    for device in (jax.devices("cpu")[0], jax.devices("gpu")[0]):
        keys = jax.random.split(jax.random.key(0), 2)
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            params = jbptt.lstm.init(keys[0], H, H)
            xs = jax.random.normal(keys[1], (T, B, H), jnp.float32)
            program = step.lower(params, xs).compile().as_text()
            results[device.platform] = jax.device_get(step(params, xs))
        assert ("jbptt_backward" in program) == (KERNELS and device.platform == "cpu")
    for one, other in zip(*map(jax.tree.leaves, results.values()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
