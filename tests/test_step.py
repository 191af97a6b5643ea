"""One step at a time: what `unroll` gives, step by step."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import SIZES, assert_close, assert_gradients_match

import jbptt
from jbptt.cells.table import CELLS

T, B, I, H = SIZES.T, SIZES.B, SIZES.I, SIZES.H
KEY = jax.random.key(3)
XS = jax.random.normal(KEY, (T, B, I))


def drawn(cell, batch=(B,)):
    """Random parameters, and a state that is not zeros, in float64."""
    params = cell.init(KEY, I, H, jnp.float64)
    state = cell.initial_state(params, batch)
    return params, jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5) if leaf.dtype.kind == "f" else leaf, state)


def step_by_step(cell, vjp="manual"):
    def run(params, xs, state):
        return jax.lax.scan(lambda state, x: jbptt.step(cell, params, state, x, vjp=vjp), state, xs)

    return run


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "clockwork"])
def test_steps_are_those_of_unroll_and_so_are_their_gradients(name):
    cell = CELLS[name]
    params, state = drawn(cell)
    assert_gradients_match(step_by_step(cell), partial(jbptt.unroll, cell, vjp="auto"), (params, XS, state))


def test_jax_differentiates_it_where_that_is_asked_for():
    params, state = drawn(jbptt.gru)
    assert_gradients_match(step_by_step(jbptt.gru), step_by_step(jbptt.gru, "auto"), (params, XS, state))
    with pytest.raises(ValueError, match="vjp must be one of"):
        jbptt.step(jbptt.gru, params, state, XS[0], vjp="both")


@pytest.mark.parametrize("batch", [(), (B,), (2, B)])
def test_any_number_of_batch_axes(batch):
    params, state = drawn(jbptt.lstm, batch)
    x = jax.random.normal(KEY, (*batch, I))
    after, h = jbptt.step(jbptt.lstm, params, state, x)
    assert h.shape == (*batch, H)
    assert_close((after, h[None]), jbptt.unroll(jbptt.lstm, params, x[None], state), tolerance=0)
    assert jnp.array_equal(h, after.h)


@pytest.mark.parametrize("index", [2, jnp.array([0, 3, 1])], ids=["one", "batch"])
def test_integers_stand_for_one_hot_rows(index):
    params, state = drawn(jbptt.rnn, jnp.shape(index))
    rows = jax.nn.one_hot(index, I, dtype=jnp.float64)
    assert_close(jbptt.step(jbptt.rnn, params, state, index), jbptt.step(jbptt.rnn, params, state, rows))


def test_no_state_is_zeros():
    params, _ = drawn(jbptt.lstm)
    zeros = jbptt.lstm.initial_state(params, (B,))
    assert_close(*[jbptt.step(jbptt.lstm, params, state, XS[0]) for state in (None, zeros)], tolerance=0)


def test_a_decoder_steps_with_its_memory():
    cell = jbptt.luong_cell(jbptt.gru, memory_size=H)
    params = jbptt.with_memory(cell.init(KEY, I, H, jnp.float64), jax.random.normal(KEY, (7, B, H)))
    got = jax.lax.scan(lambda state, x: jbptt.step(cell, params, state, x), cell.initial_state(params.params, (B,)), XS)
    assert_close(got, jbptt.unroll(cell, params, XS))


@pytest.mark.parametrize(
    ("x", "state", "error", "message"),
    [
        (0.5, None, ValueError, r"x must have shape \[B, I\].*got one float"),
        ("abc", None, TypeError, "x must be an array, got str"),
        (XS[0, :, 1:], None, ValueError, "xs must have I = 4 features"),
        (I, None, ValueError, r"xs must be indices in 0..3"),
        (XS[0, :2], "batch", ValueError, r"state.*must have shape"),
        (XS[0].astype(jnp.float32), None, TypeError, "xs is float32 but"),
    ],
)
def test_bad_input_is_named(x, state, error, message):
    params, started = drawn(jbptt.gru)
    with pytest.raises(error, match=message):
        jbptt.step(jbptt.gru, params, started if state else None, x)
