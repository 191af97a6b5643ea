"""The C++ kernels give what the scan gives, to float32's accuracy: at any size, with any marks, on any vectors."""

import threading
from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt.kernels.library import INSTRUCTION_SETS, loaded
from jbptt.kernels.native import KINDS, recur_native, why_not
from jbptt.recurrence.forward import Direction, Sequence
from jbptt.recurrence.marks import Marks

pytestmark = pytest.mark.skipif(isinstance(loaded(), str), reason=f"no kernels: {loaded()}")

VARIANTS = {name: cell for name, cell in jbptt.LSTM_VARIANTS.items() if name not in ("NP", "FGR")}
CELLS = {
    "lstm": jbptt.lstm,
    **VARIANTS,
    "one peephole": jbptt.lstm_cell(peepholes="f"),
    "no bias": jbptt.lstm_cell(bias=False),
    "gru": jbptt.gru,
    "gru, no bias": jbptt.gru_cell(bias=False),
    "rnn": jbptt.rnn,
    "rnn_relu": jbptt.rnn_cell(jbptt.relu),
    "rnn_sigmoid": jbptt.rnn_cell(jbptt.sigmoid),
    "irnn": jbptt.irnn,
}
OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": True},
    "lengths in reverse": {"lengths": True, "reverse": True},
    "resets": {"resets": True},
    "resets in reverse to a state": {"resets": True, "reverse": True, "reset_state": True},
    "everything": {"lengths": True, "resets": True, "reset_state": True},
}


def problem(cell, T, batch, I, H, options=None, seed=0):
    """(run(vjp=, backend=, dtype=) -> values and every gradient, float64 ones as NumPy)"""
    draw = np.random.default_rng(seed)
    options = dict(options or {})
    params = cell.init(jax.random.key(seed), I, H, jnp.float64)
    params = {name: leaf + 0.2 * draw.standard_normal(leaf.shape) for name, leaf in params.items()}
    xs = draw.standard_normal((T, *batch, I))
    state = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape), cell.initial_state(params, batch))
    reset_state = jax.tree.map(lambda leaf: leaf[::-1] - 1, state) if options.pop("reset_state", False) else None
    if options.pop("lengths", False):
        options["lengths"] = draw.integers(0, T + 1, batch)
    if options.pop("resets", False):
        options["resets"] = draw.random((T, *batch)) < 0.3

    def run(dtype, **how):
        args = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, xs, state, reset_state))

        def forward(params, xs, state, reset_state):
            more = {} if reset_state is None else {"reset_state": reset_state}
            return jbptt.unroll(cell, params, xs, state, **options, **more, **how)

        outs, vjp = jax.vjp(forward, *args)
        drawn = np.random.default_rng(seed + 1)
        return outs, vjp(jax.tree.map(lambda out: jnp.asarray(drawn.standard_normal(out.shape), dtype), outs))

    return run


def errors(got, expected):
    """Of each leaf, relative to its largest entry."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    return [
        np.max(np.abs(np.asarray(g, np.float64) - e), initial=0) / max(np.max(np.abs(e), initial=0), 1e-3)
        for g, e in pairs
    ]


def assert_as_good_as_xla(run):
    """Against float64: within twice what the scan itself does in float32, or ten roundings."""
    expected = jax.jit(partial(run, jnp.float64, vjp="auto"))()
    native = errors(jax.jit(partial(run, jnp.float32, backend="native"))(), expected)
    xla = errors(jax.jit(partial(run, jnp.float32, backend="xla"))(), expected)
    assert max(native) <= max(2 * max(xla), 10 * np.finfo(np.float32).eps), (native, xla)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["lstm", "V", "gru", "rnn"])
def test_gradients_with_every_mark(name, options):
    assert_as_good_as_xla(problem(CELLS[name], 7, (5,), 3, 18, OPTIONS[options]))


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_every_cell(name):
    assert_as_good_as_xla(problem(CELLS[name], 9, (3,), 5, 21, OPTIONS["everything"]))
