"""Hand-derived against `jax.vjp` of the same forward: every row, every argument, every output, every edge."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CELL_ROWS,
    ROWS_BY_NAME,
    SIZES,
    TOLERANCE,
    assert_close,
    assert_gradients_match,
    cast,
    cotangent_patterns,
    twins,
)

from jbptt.comparison.pair import value_and_gradients
from jbptt.comparison.rows import CELLS, ROWS
from jbptt.hand_derived import HAND_DERIVED

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
every_cell = pytest.mark.parametrize("row", CELL_ROWS, ids=lambda row: row.name)
    manual, auto, (outputs, targets, weights) = twins(ROWS_BY_NAME[name])
    manual, auto = (partial(loss, reduction="sum") for loss in (manual, auto))
    assert_gradients_match(manual, auto, (outputs[0, 0], targets[0, 0], weights[0, 0] + 1))


@every_cell
def test_no_state_is_the_zero_state(row):
    manual, auto, (params, xs, state) = twins(row)
    assert_gradients_match(manual, auto, (params, xs))
    zeros = jax.tree.map(jnp.zeros_like, state)
    assert_close(manual(params, xs), manual(params, xs, zeros), tolerance=0)


@every_cell
def test_no_steps_leave_the_state_as_it_was(row):
    manual, _, (params, xs, state) = twins(row, SIZES._replace(T=0))
    final, hs = manual(params, xs, state)
    assert_close(final, state, tolerance=0)
    assert hs.shape == (0, SIZES.B, SIZES.H)


def test_every_hand_derived_function_has_a_row(monkeypatch):
    """A new one that no row reaches would be tested by nothing."""
    reached = set()
    for function in HAND_DERIVED:
        monkeypatch.setattr(function, "manual", recorded(function, reached))
    for row in ROWS:
        manual, _, args = twins(row)
        jax.eval_shape(manual, *args)
    assert {function.name for function in HAND_DERIVED} == reached


def test_every_cell_has_a_row():
    assert set(CELLS) <= set(ROWS_BY_NAME)


def recorded(function, reached):
    manual = function.manual

    def call(*args):
        reached.add(function.name)
        return manual(*args)

    return call


def cast_away_integers(tree):
    return jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None, tree)
