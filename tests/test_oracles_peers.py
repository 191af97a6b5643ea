"""Lengths as flax.nnx.RNN has them, resets as haiku's ResetCore: values and gradients of an LSTM in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RESETS, ROWS_BY_NAME, SIZES, assert_close, twins

import jbptt

LENGTHS = np.array([5, 1, 3])
"""At least 1: of a sequence of length 0 flax gives the state after the last padded step."""
REASON = "the oracle is among the benchmarks' extras: pip install -e '.[test,benchmarks]'"


@pytest.fixture
def args():
    return twins(ROWS_BY_NAME["lstm"])[2]


def weighted(state, hs):
    """A cost of every output: each entry has a weight of its own."""
    return sum(jnp.sum(out * jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)) for out in (*state, hs))


def value_and_gradients(run, args):
    return jax.jit(jax.value_and_grad(lambda args: weighted(*run(*args))))(args)


PADDING = np.arange(SIZES.T)[:, None] >= LENGTHS


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_as_flax_has_them(args, reverse):
    nnx = pytest.importorskip("flax.nnx", reason=REASON)
    options = {"dtype": jnp.float64, "param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    cell = nnx.OptimizedLSTMCell(SIZES.I, SIZES.H, **options)
    flags = {"time_major": True, "return_carry": True, "reverse": reverse, "keep_order": reverse}
    graph, weights = nnx.split(nnx.RNN(cell, rngs=False, **flags))

    def flax(params, xs, state):
        by_path = {"dense_i.kernel": params["U"], "dense_h.kernel": params["W"], "dense_h.bias": params["b"]}
        leaves, structure = jax.tree_util.tree_flatten_with_path(weights)
        names = [".".join(str(getattr(key, "key", "")) for key in path if hasattr(key, "key")) for path, _ in leaves]
        given = [by_path[name.removeprefix("cell.")] for name in names]
        rnn = nnx.merge(graph, jax.tree.unflatten(structure, given))
        (c, h), hs = rnn(xs, initial_carry=(state.c, state.h), seq_lengths=jnp.asarray(LENGTHS))
        return (h, c), jnp.where(
            PADDING[..., None], jnp.zeros_like(hs), hs
        )  # flax puts h of the padding out, to be masked by its user

    def ours(params, xs, state):
        return jbptt.unroll(jbptt.lstm, params, xs, state, lengths=LENGTHS, reverse=reverse)

    assert_close(value_and_gradients(ours, args), value_and_gradients(flax, args))


def test_resets_as_haiku_has_them(args):
    hk = pytest.importorskip("haiku", reason=REASON)

    @hk.without_apply_rng
    @hk.transform
    def network(xs, state):
        core = hk.ResetCore(hk.LSTM(SIZES.H))
        hs, state = hk.dynamic_unroll(core, (xs, jnp.asarray(RESETS)), hk.LSTMState(state.h, state.c))
        return (state.hidden, state.cell), hs

    H = SIZES.H

    def haiku(params, xs, state):
        def as_haiku(array):  # its blocks are i, g, f, o, and 1 is added to f
            i, f, g, o = jnp.split(array, 4, axis=-1)
            return jnp.concatenate([i, g, f, o], axis=-1)

        w = as_haiku(jnp.concatenate([params["U"], params["W"]]))
        b = as_haiku(params["b"] - jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), H))
        return network.apply({"lstm/linear": {"w": w, "b": b}}, xs, state)

    def ours(params, xs, state):
        zeros = jbptt.lstm.initial_state(params, (SIZES.B,))
        return jbptt.unroll(jbptt.lstm, params, xs, state, resets=RESETS, reset_state=zeros)

    assert_close(value_and_gradients(ours, args), value_and_gradients(haiku, args))
