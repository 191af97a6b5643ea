"""`compute_dtype`: parameters in float32, steps in bfloat16, sums in float32."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TOLERANCE, full

import jbptt
from jbptt.backends.cpu.library import loaded
from jbptt.cells.table import CELLS
from jbptt.comparison.rows import Draws, Sizes
from jbptt.recurrence.precision import in_dtype

SIZES = Sizes(T=6, B=4, I=3, H=8)
OPTIONS = {
    "plain": {},
    "checkpoint, lengths": {"checkpoint": 4, "lengths": np.array([6, 0, 2, 5])},
    "zoneout": {"zoneout": 0.2},
}
BF16 = {"compute_dtype": jnp.bfloat16}


def drawn(cell, dtype=jnp.float32, sizes=SIZES):
    return Draws(0, dtype).of_cell(cell, sizes)


def rounded(tree):
    """To bfloat16's values, in the dtype that there was."""
    return jax.tree.map(lambda leaf: in_dtype(in_dtype(leaf, jnp.bfloat16), leaf.dtype), tree)


def cost(cell, params, xs, state, **options):
    last, hs = jbptt.unroll(cell, params, xs, state, **options)
    return jnp.sum(jnp.sin(hs.astype(jnp.float32))) + jnp.sum(last.h.astype(jnp.float32) ** 2)


@pytest.mark.parametrize("name", full(CELLS, but=("lstm", "clockwork", "lstm_depth_gated", "lstm_projected")))
def test_values_are_those_of_parameters_in_the_compute_dtype(name):
    args = drawn(CELLS[name])
    mixed = jbptt.unroll(CELLS[name], *args, **BF16)
    jax.tree.map(np.testing.assert_array_equal, mixed, jbptt.unroll(CELLS[name], *in_dtype(args, jnp.bfloat16)))
    floats = [leaf for leaf in jax.tree.leaves(mixed) if leaf.dtype != jnp.int32]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", full(CELLS, but=("gru", "indrnn")))
def test_gradients_have_their_arguments_dtypes_and_are_right(name, options):
    """float64 at the same rounded arguments is the measure."""
    params, xs, state = drawn(CELLS[name])
    xs, state = in_dtype((xs, state), jnp.bfloat16)
    grads = jax.grad(partial(cost, CELLS[name], **BF16, **OPTIONS[options]), (0, 1))(params, xs, state)
    assert jax.tree.map(lambda leaf: leaf.dtype, grads) == jax.tree.map(lambda leaf: leaf.dtype, (params, xs))
    exact = in_dtype((rounded(params), xs, state), jnp.float64)
    expected = jax.grad(partial(cost, CELLS[name], vjp="auto", **OPTIONS[options]), (0, 1))(*exact)
    for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        assert np.max(np.abs(got.astype(jnp.float64) - want)) <= TOLERANCE["bfloat16"] * max(np.max(np.abs(want)), 1e-2)


@pytest.mark.parametrize("activation", [jbptt.identity, jbptt.relu], ids=["by the scan", "by a kernel"])
@pytest.mark.parametrize("options", [{}, {"checkpoint": 1}], ids=["whole", "checkpoint"])
def test_sums_are_not_rounded_to_the_compute_dtype(options, activation):
    """Of a cell that is linear, as a rectifier is above 0, δ is the cotangent itself, so that every gradient is known
    to float32's last digits."""
    cell, sizes = jbptt.rnn_cell(activation), Sizes(T=2, B=301, I=3, H=4)
    params, xs, state = jax.tree.map(jnp.abs, drawn(cell, sizes=sizes))
    params = params | {"W": jnp.zeros_like(params["W"])}
    dhs = rounded(Draws(1, jnp.float32).normal(sizes.T, sizes.B, sizes.H))

    def linear(params):
        return jnp.sum(dhs * jbptt.unroll(cell, params, xs, state, **BF16, **options)[1].astype(jnp.float32))

    grads = jax.grad(linear)(params)
    expected = np.einsum("tbi,tbh->ih", np.asarray(rounded(xs), np.float64), np.asarray(dhs, np.float64))
    np.testing.assert_allclose(grads["U"], expected, rtol=1e-5)
    np.testing.assert_allclose(grads["b"], np.sum(np.asarray(dhs, np.float64), (0, 1)), rtol=1e-5)
    assert np.any(rounded(grads["U"]) != grads["U"])


def test_streaming():
    """A state put out goes in again, beside one in the parameters' dtype."""
    params, xs, state = drawn(jbptt.lstm)
    by_scan = BF16 | {"backend": "scan"}  # a kernel rounds the state at the end of a call, and not at each step
    whole, _ = jbptt.unroll(jbptt.lstm, params, xs, state, **by_scan)
    half, _ = jbptt.unroll(jbptt.lstm, params, xs[:3], state, **by_scan)
    last, _ = jbptt.unroll(jbptt.lstm, params, xs[3:].astype(jnp.bfloat16), half, **by_scan)
    jax.tree.map(np.testing.assert_array_equal, last, whole)


def test_stacks_attention_and_resets():
    layers = (jbptt.Bidirectional(jbptt.gru, jbptt.gru), jbptt.lstm)
    params = jbptt.stack_init(jax.random.key(0), layers, SIZES.I, SIZES.H)
    xs, resets = jnp.ones((4, 2, SIZES.I), jnp.float32), np.array([[0, 1], [1, 0], [0, 0], [1, 1]], bool)
    grads = jax.grad(
        lambda params: jnp.sum(jbptt.stack(layers, params, xs, resets=resets, **BF16)[1]).astype(jnp.float32)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(grads(params))} == {jnp.dtype(jnp.float32)}
    cell = jbptt.bahdanau_cell(jbptt.gru)
    params = cell.init(jax.random.key(0), SIZES.I, SIZES.H)
    memory = Draws(1, jnp.float32).normal(5, 2, SIZES.H)

    def attended(params, memory):
        return jnp.sum(jbptt.unroll(cell, jbptt.with_memory(params, memory), xs, **BF16)[1].astype(jnp.float32))

    for leaf in jax.tree.leaves(jax.grad(attended, (0, 1))(params, memory)):
        assert leaf.dtype == jnp.float32
        assert np.any(leaf != 0)


@pytest.mark.skipif(isinstance(loaded(), str), reason=f"no kernels: {loaded()}")
def test_kernels_keep_bfloat16_and_none_is_for_float64():
    args = drawn(jbptt.lstm)
    program = jax.jit(partial(cost, jbptt.lstm, **BF16)).lower(*args).as_text()
    assert re.search(r"custom_call @jbptt_forward.*-> \(tensor<6x4x8xbf16>", program)
    with pytest.raises(ValueError, match="float32 and bfloat16, and there are xs or parameters of float64"):
        jbptt.unroll(jbptt.lstm, *in_dtype(args, jnp.float64), compute_dtype=jnp.float32, backend="cpu")


def test_float16_is_refused_with_the_reason():
    args = drawn(jbptt.lstm)
    with pytest.raises(TypeError, match=r"compute_dtype must be floating point .* sums over T·B overflow"):
        jbptt.unroll(jbptt.lstm, *args, compute_dtype=jnp.float16)
    with pytest.raises(TypeError, match=r"xs must be floating point .* sums over T·B overflow"):
        jbptt.unroll(jbptt.lstm, args[0], args[1].astype(jnp.float16))
    with pytest.raises(TypeError, match=r"params\['U'\] must be floating point .* sums over T·B overflow"):
        jbptt.unroll(jbptt.lstm, in_dtype(args[0], jnp.float16), args[1], **BF16)
    with pytest.raises(TypeError, match=r"xs is float64 but params\['U'\] is float32"):
        jbptt.unroll(jbptt.lstm, args[0], args[1].astype(jnp.float64))


def test_float64_is_not_cut():
    with jax.enable_x64(False):
        params = jbptt.gru.init(jax.random.key(0), 2, 3)
        with pytest.raises(TypeError, match=r"compute_dtype is float64, .*jax_enable_x64"):
            jbptt.unroll(jbptt.gru, params, jnp.zeros((4, 2)), compute_dtype="float64")
        with pytest.raises(TypeError, match=r"dtype is float64, .*jax_enable_x64"):
            jbptt.gru.init(jax.random.key(0), 2, 3, "float64")
