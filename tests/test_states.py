"""Every step's whole state: its values, and the gradients of a cost of all of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_gradients_match, full
from numpy_loops import CELL_LOOPS

import jbptt
from jbptt.backends.scan import SCAN
from jbptt.cells.table import CELLS
from jbptt.comparison.rows import Draws, Sizes

SIZES = Sizes(T=5, B=3, I=2, H=8)
LENGTHS = np.array([5, 0, 3])
MASK = np.random.default_rng(1).random((SIZES.T, SIZES.B)) < 0.6
RESETS = np.random.default_rng(2).random((SIZES.T, SIZES.B)) < 0.4
OPTIONS = {
    "plain": {},
    "lengths, resets, reverse": {"lengths": LENGTHS, "resets": RESETS, "reverse": True},
    "mask": {"mask": MASK},
    "checkpoint with a step left over": {"checkpoint": 2, "resets": RESETS},
    "truncate": {"truncate": 2},
    "zoneout": {"zoneout": 0.3, "key": jax.random.key(3)},
}


def drawn(cell):
    return Draws(0, jnp.float64).of_cell(cell, SIZES)


@pytest.mark.parametrize("name", full([name for name in CELL_LOOPS if name in CELLS], but=("lstm", "clockwork")))
def test_every_state_of_a_numpy_loop(name):
    params, xs, state = drawn(CELLS[name])
    _, states = jbptt.unroll_states(CELLS[name], params, xs, state)
    at = [np.asarray(field) for field in state]
    params = jax.tree.map(np.asarray, params)
    for t in range(SIZES.T):
        at, _ = CELL_LOOPS[name](params, np.asarray(xs[t : t + 1]), at)
        for field, expected in zip(states, at, strict=True):
            assert_close(field[t], expected)


@pytest.mark.parametrize("options", OPTIONS)
def test_h_is_what_unroll_gives_and_no_step_is_0(options):
    params, xs, state = drawn(jbptt.lstm)
    last, hs = jbptt.unroll(jbptt.lstm, params, xs, state, **OPTIONS[options])
    ours, states = jbptt.unroll_states(jbptt.lstm, params, xs, state, **OPTIONS[options])
    jax.tree.map(np.testing.assert_array_equal, (last, hs), (ours, states.h))
    np.testing.assert_array_equal(states.c == 0, hs == 0)


@pytest.mark.parametrize("options", full(OPTIONS, but=("plain", "checkpoint with a step left over")))
@pytest.mark.parametrize("name", full(("lstm", "clockwork", "slstm", "lstm_fgr"), but=("lstm",)))
def test_gradients(name, options):
    params, xs, state = drawn(CELLS[name])
    run = partial(jbptt.unroll_states, CELLS[name], **OPTIONS[options])
    assert_gradients_match(run, partial(run, vjp="auto"), (params, xs, state))


def test_gradients_of_a_state_within_a_state():
    cell = jbptt.luong_cell(jbptt.lstm)
    params, xs, state = drawn(cell)
    memory = Draws(1, jnp.float64).normal(4, SIZES.B, SIZES.H)

    def run(params, memory, xs, state, vjp="manual"):
        return jbptt.unroll_states(cell, jbptt.with_memory(params, memory), xs, state, vjp=vjp)

    assert_gradients_match(run, partial(run, vjp="auto"), (params, memory, xs, state))


def test_gradients_are_those_of_the_last_state_of_every_beginning():
    """A cost of cᵗ is one of the last state of t steps."""
    params, xs, state = drawn(jbptt.lstm)
    weights = Draws(1, jnp.float64).normal(SIZES.T, SIZES.B, SIZES.H)

    def at_once(params, xs):
        return jnp.sum(weights * jbptt.unroll_states(jbptt.lstm, params, xs, state)[1].c)

    def by_beginnings(params, xs):
        lasts = [jbptt.unroll(jbptt.lstm, params, xs[: t + 1], state)[0] for t in range(SIZES.T)]
        return sum(jnp.sum(weights[t] * last.c) for t, last in enumerate(lasts))

    got, expected = (jax.grad(cost, (0, 1))(params, xs) for cost in (at_once, by_beginnings))
    jax.tree.map(assert_close, got, expected)


def test_mutant_without_the_cotangents_of_the_rest():
    def backward(spec, residuals, cotangents):
        return SCAN.backward(spec, residuals, cotangents._replace(rest=None))

    run = partial(jbptt.unroll_states, jbptt.lstm, backend=SCAN._replace(backward=backward))
    with pytest.raises(AssertionError):
        assert_gradients_match(run, partial(jbptt.unroll_states, jbptt.lstm, vjp="auto"), drawn(jbptt.lstm))


def test_kernels_say_that_they_cannot():
    params, xs, state = drawn(jbptt.lstm)
    with pytest.raises(ValueError, match="kernels"):
        jbptt.unroll_states(jbptt.lstm, params, xs, state, backend="cpu")
