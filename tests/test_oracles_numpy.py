"""Forward against NumPy loops; gradients against finite differences of the forward."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from helpers import CELL_ROWS, ROWS_BY_NAME, ROWS_OF_EVERY_KIND, SIZES, assert_close, floats, to_numpy, twins
from jax.test_util import check_grads

import jbptt
from jbptt.cells.table import CELLS

FORWARD = 1e-13
"""Rounding only: the oracle orders its sums differently, and 1e-13 is some hundreds of units of rounding."""


def test_every_cell_has_a_loop():
    assert set(numpy_loops.CELL_LOOPS) == set(CELLS)


@pytest.mark.parametrize("row", CELL_ROWS, ids=lambda row: row.name)
def test_cells(row):
    manual, auto, args = twins(row)
    params, xs, state = to_numpy(args)
    expected_state, expected_hs = numpy_loops.CELL_LOOPS[row.name](params, xs, state)
    for unroll in (manual, auto):
        final, hs = jax.jit(unroll)(*args)
        assert_close((tuple(final), hs), (expected_state, expected_hs), FORWARD)


@pytest.mark.parametrize("name", ["siso", "simo", "miso", "mimo"])
def test_networks(name):
    manual, auto, args = twins(ROWS_BY_NAME[name])
    params, x, state = to_numpy(args)
    length = (SIZES.T,) if name in ("siso", "simo") else ()
    expected_state, expected_y = getattr(numpy_loops, name)(params, x, state, *length)
    for network in (manual, auto):
        final, y = jax.jit(network)(*args)
        assert_close((tuple(final), y), (expected_state, expected_y), FORWARD)


@pytest.mark.parametrize("output_activation", [None, "identity", "relu"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "identity"])
def test_mlp(activation, output_activation):
    manual, _, (params, x) = twins(ROWS_BY_NAME["mlp"])
    last = None if output_activation is None else getattr(jbptt, output_activation)
    y = manual(params, x, activation=getattr(jbptt, activation), output_activation=last)
    expected = numpy_loops.mlp(to_numpy(params), to_numpy(x), activation, output_activation or activation)
    assert_close(y, expected, FORWARD)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "name", ["mse", "binary_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_classes"]
)
def test_losses(name, reduction):
    _, _, args = twins(ROWS_BY_NAME[name])
    name = name.removesuffix("_classes")
    outputs, targets, weights = to_numpy(args)
    costs = getattr(numpy_loops, name)(outputs, targets)
    loss = partial(getattr(jbptt, name), reduction=reduction)
    assert_close(loss(*args), numpy_loops.reduced(costs, weights, reduction), FORWARD)
    assert_close(loss(*args[:2]), numpy_loops.reduced(costs, np.ones_like(costs), reduction), FORWARD)


@pytest.mark.parametrize(
    "row", [row for row in ROWS_OF_EVERY_KIND if "truncate" not in row.name], ids=lambda row: row.name
)
def test_finite_differences(row):
    """(What is truncated is by its purpose no slope.)"""
    assert_gradients_are_slopes(row, SIZES._replace(T=3), seeds=(10, 11, 12), order=1)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "mlp", "mse", "binary_cross_entropy", "softmax_cross_entropy"])
def test_finite_differences_of_the_gradient(name):
    """Second order: the slope of the hand-derived gradient itself."""
    assert_gradients_are_slopes(ROWS_BY_NAME[name], SIZES._replace(T=2, B=2), seeds=(13,), order=2)


def assert_gradients_are_slopes(row, sizes, seeds, order):
    """Of every floating point argument, along a random direction for every seed.

    A weight of exactly 0 is moved off it: what it masks does not exist, so the loss jumps there and has no slope.
    """
    manual, _, args = twins(row, sizes)
    structure = jax.tree.structure(args)
    are_floats = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(args)]

    @jax.jit
    def of_leaves(values, integers):
        values, integers = iter(values), iter(integers)
        outputs = manual(*structure.unflatten([next(values if is_float else integers) for is_float in are_floats]))
        return floats(outputs)

    for seed in seeds:
        _, _, args = twins(row, sizes, seed=seed)
        leaves = list(zip(are_floats, jax.tree.leaves(args), strict=True))
        values = [jnp.where(leaf == 0, jnp.ones_like(leaf) / 2, leaf) for is_float, leaf in leaves if is_float]
        integers = [leaf for is_float, leaf in leaves if not is_float]
        of_values = partial(lambda integers, *values: of_leaves(values, integers), integers)
        # Central differences with steps of 1e-4 are off by about 1e-8 third derivatives, summed over every entry moved.
        check_grads(of_values, values, order, modes=["rev"], atol=2e-5, rtol=2e-5)
