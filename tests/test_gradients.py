"""Hand-derived against `jax.vjp` of the same forward: every row, every argument, every output, every edge."""

import importlib
import pkgutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CELL_ROWS,
    ROWS_BY_NAME,
    ROWS_OF_EVERY_KIND,
    SIZES,
    TOLERANCE,
    assert_close,
    assert_gradients_match,
    cast,
    cotangent_patterns,
    floats,
    twins,
    users_jit,
)

import jbptt
from jbptt.autodiff import HandDerived
from jbptt.backends.protocol import differentiable
from jbptt.backends.scan import SCAN
from jbptt.cells.table import CELLS
from jbptt.comparison.pair import value_and_gradients
from jbptt.comparison.rows import ROWS

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
every_cell = pytest.mark.parametrize("row", CELL_ROWS, ids=lambda row: row.name)
OF_FOUR_UNITS = ("rnn_heads", "slstm", "clockwork", "checkpoint_lengths_resets", "lstm_layer_norm")
"""Four parts of one unit each; and one unit or two that are normalised are constants, with gradients of rounding."""
WEIGHTED_MEANS = ("mse", "binary_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_classes")
WEIGHTED_MEANS += ("dense_softmax_cross_entropy",)
"""Of a single cost they do not depend on its weight: again a gradient of rounding."""
BATCHED = ["rnn", "clockwork", "lstm", "lstm_depth_gated", "slstm", "gru", "siso", "simo", "miso", "mimo"]


@every_row
def test_float64(row):
    manual, auto, args = twins(row)
    assert_gradients_match(manual, auto, args)


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "slstm", "bahdanau", "checkpoint_lengths_resets", "scan", "mlp", "mse"]
)
def test_as_users_compile(name):
    """With every optimisation."""
    manual, auto, args = twins(ROWS_BY_NAME[name])
    assert_gradients_match(manual, auto, args, jit=users_jit)


@pytest.mark.parametrize("row", ROWS_OF_EVERY_KIND, ids=lambda row: row.name)
def test_lower_precision(row):
    """dtype out is dtype in, and the errors against float64 are rounding; which also needs a gradient that is not 0
    in every argument, or there would be nothing to get wrong."""
    manual, auto, _ = twins(row)
    manual, reference = (jax.jit(value_and_gradients(fn)) for fn in (manual, auto))
    for dtype in (jnp.float32, jnp.bfloat16):
        _, _, args = twins(row, dtype=dtype)
        cotangents = cotangent_patterns(auto, args)["all outputs"]
        got = manual(args, cotangents)
        assert {leaf.dtype for leaf in floats(got)} == {jnp.dtype(dtype)}
        expected = reference(cast(args, jnp.float64), cast(cotangents, jnp.float64))
        assert_close(got, expected, TOLERANCE[jnp.dtype(dtype).name], dtype.__name__)
        gradients = jax.tree.leaves(got["gradient"])
        assert [leaf.shape for leaf in gradients] == [leaf.shape for leaf in floats(args)]
        assert all(np.count_nonzero(leaf) > leaf.size / 4 for leaf in gradients)


EDGES = [{"T": 1, "B": 1}, {"I": 1, "H": 1, "O": 1}, {"T": 0}, {"B": 0}]
ONE_BY_ONE = ["lstm", "gru_reset_before", "checkpoint_lengths_resets", "bahdanau", "scan", "mlp", "lstm_layer_norm"]
AT_EDGES = [(ROWS_BY_NAME[name], edge) for name in ONE_BY_ONE for edge in EDGES]
AT_EDGES += [(row, {"T": 1, "B": 1, "I": 1, "O": 1}) for row in ROWS_OF_EVERY_KIND if row.name not in ONE_BY_ONE]
AT_EDGES += [(row, EDGES[2]) for row in ROWS_OF_EVERY_KIND if row.name not in ONE_BY_ONE]


@pytest.mark.parametrize(("row", "edge"), AT_EDGES, ids=lambda part: str(getattr(part, "name", part)))
def test_edge_sizes(row, edge):
    if edge == {"T": 0} and row.name in ("siso", "simo"):
        pytest.skip("a single input needs one step at least: test_bad_input.py has the error")
    if edge.get("O") == 1 and row.name in WEIGHTED_MEANS:
        edge = edge | {"T": 2}
    if edge.get("H") == 1 and row.name in OF_FOUR_UNITS:
        edge = edge | {"H": 4}
    manual, auto, args = twins(row, SIZES._replace(**edge))
    assert_gradients_match(manual, auto, args)


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("name", BATCHED)
def test_batch_axes(name, batch):
    manual, auto, (params, x, state) = twins(ROWS_BY_NAME[name], SIZES._replace(B=int(np.prod(batch))))
    time_axes = x.shape[: x.ndim - 2]
    x = x.reshape(*time_axes, *batch, SIZES.I)
    state = jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), state)
    assert_gradients_match(manual, auto, (params, x, state))
    final, _ = jax.eval_shape(manual, params, x, state)
    assert final.h.shape == (*batch, SIZES.H)


@pytest.mark.parametrize("name", ["dense", "mlp"])
def test_layers_of_one_vector(name):
    manual, auto, (params, x) = twins(ROWS_BY_NAME[name])
    assert_gradients_match(manual, auto, (params, x[0, 0]))


@pytest.mark.parametrize("name", ["mse", "binary_cross_entropy", "softmax_cross_entropy"])
def test_losses_of_one_vector(name):
    """As a sum: a mean over a single cost does not depend on its weight."""
    manual, auto, (outputs, targets, weights) = twins(ROWS_BY_NAME[name])
    manual, auto = (partial(loss, reduction="sum") for loss in (manual, auto))
    assert_gradients_match(manual, auto, (outputs[0, 0], targets[0, 0], weights[0, 0] + 1))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_no_state_is_the_zero_state(name):
    manual, auto, (params, xs, state) = twins(ROWS_BY_NAME[name])
    assert_gradients_match(manual, auto, (params, xs))
    zeros = jax.tree.map(jnp.zeros_like, state)
    assert_close(manual(params, xs), manual(params, xs, zeros), tolerance=0)


@every_cell
def test_no_steps_leave_the_state_as_it_was(row):
    manual, _, (params, xs, state) = twins(row, SIZES._replace(T=0))
    final, hs = manual(params, xs, state)
    assert_close(final, state, tolerance=0)
    assert hs.shape == (0, *state.h.shape)


def hand_derived():
    """Every function with a hand-derived backward pass that a module defines, and the engine's; those of backends are
    held to it by tests of their own (test_backends.py, test_at_once.py)."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(jbptt.__path__, "jbptt.")
        if not module.name.startswith(("jbptt.app", "jbptt.backends"))
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, HandDerived)]
    return {*found, differentiable(SCAN)}


def test_every_hand_derived_function_has_a_row(monkeypatch):
    """A new one that no row reaches would be tested by nothing."""
    reached, by_hand = set(), HandDerived._by_hand

    def recorded(self, static, args):
        reached.add(self)
        return by_hand(self, static, args)

    monkeypatch.setattr(HandDerived, "_by_hand", recorded)
    for row in ROWS:
        manual, _, args = twins(row)
        jax.eval_shape(manual, *args)
    assert len(hand_derived()) >= 5
    assert hand_derived() <= reached


def test_every_cell_has_a_row():
    assert set(CELLS) <= set(ROWS_BY_NAME)
