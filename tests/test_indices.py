"""Integers in the place of one-hot rows: the same values and gradients, without the products."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_caught, assert_close, assert_gradients_match, full, mesh_of, planted
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jbptt
from jbptt.cells import pieces
from jbptt.cells.table import CELLS
from jbptt.comparison.pair import random_cotangents, value_and_gradients
from jbptt.comparison.rows import Draws, Sizes
from jbptt.feedforward import rows

SIZES = Sizes(T=6, B=4, I=5, H=8)
INDICES = np.random.default_rng(0).integers(0, 5, (6, 4)).astype(np.int32)
STRAY = np.where(np.random.default_rng(1).random((6, 4)) < 0.3, [[-1], [5], [-5], [9], [-6], [2**31 - 1]], INDICES)
"""Some are nobody's, on either side."""


def problem(cell, indices):
    """(params, indices, one-hot rows, state)"""
    params, _, state = Draws(0, jnp.float64).of_cell(cell, SIZES)
    return params, jnp.asarray(indices, jnp.int32), jax.nn.one_hot(indices, SIZES.I, dtype=jnp.float64), state


def of_both(cell, indices, **options):
    """Values and gradients of the parameters and the state, by integers and by the rows that they stand for."""
    params, indices, one_hot, state = problem(cell, indices)

    def function(xs, params, state):
        return jbptt.unroll(cell, params, xs, state, **options)

    cotangents = random_cotangents(partial(function, one_hot), (params, state))
    return [
        jax.jit(value_and_gradients(partial(function, xs)))((params, state), cotangents) for xs in (indices, one_hot)
    ]


@pytest.mark.parametrize("name", full(CELLS, but=("lstm", "lstm_layer_norm", "lstm_depth_gated")))
@pytest.mark.parametrize("vjp", ["manual", "auto"])
def test_as_one_hot_rows(name, vjp):
    assert_close(*of_both(CELLS[name], STRAY, vjp=vjp))


@pytest.mark.parametrize(
    "options",
    full(
        [
            {"lengths": np.array([6, 0, 3, 1])},
            {"mask": np.random.default_rng(2).random((6, 4)) < 0.5, "reverse": True},
            {"resets": np.random.default_rng(3).random((6, 4)) < 0.4, "truncate": 2},
            {"checkpoint": 4},
            {"recurrent_dropout": 0.5, "zoneout": 0.2, "noise": 0.1, "key": jax.random.key(1)},
        ]
    ),
    ids=lambda options: "-".join(options),
)
def test_with_options(options):
    assert_close(*of_both(jbptt.gru, STRAY, **options))


def test_any_integers_and_any_batch():
    params, indices, one_hot, _ = problem(jbptt.lstm, INDICES)
    expected = jbptt.unroll(jbptt.lstm, params, one_hot)[1]
    for dtype in (jnp.uint8, jnp.int16, jnp.int64):
        assert_close(jbptt.unroll(jbptt.lstm, params, indices.astype(dtype))[1], expected)
    assert_close(jbptt.unroll(jbptt.lstm, params, INDICES.tolist())[1], expected)
    assert_close(jbptt.unroll(jbptt.lstm, params, indices[:, 0])[1], expected[:, 0])
    assert_close(jbptt.unroll(jbptt.lstm, params, indices.reshape(6, 2, 2))[1], expected.reshape(6, 2, 2, -1))
    assert jbptt.unroll(jbptt.lstm, params, indices[:0])[1].shape == (0, 4, 8)


@pytest.mark.parametrize("wrong", [5, -1])
def test_what_is_out_of_range_is_told_of_where_it_is_known_and_exists(wrong):
    params, *_ = problem(jbptt.lstm, INDICES)
    xs = INDICES.copy()
    xs[4, 2] = wrong
    with pytest.raises(ValueError, match=r"xs must be indices in 0..4, of rows of params\['U'\], got"):
        jbptt.unroll(jbptt.lstm, params, xs)
    jbptt.unroll(jbptt.lstm, params, xs, lengths=[6, 6, 4, 6])
    jax.jit(partial(jbptt.unroll, jbptt.lstm))(params, xs)


@pytest.mark.parametrize(
    ("xs", "params", "error", "says"),
    [
        (np.int32(3), {}, ValueError, r"xs must have shape \[T, B\] where they are integers"),
        (INDICES > 2, {}, TypeError, "xs must be floating point .* got bool"),
        (INDICES, {"U": None}, TypeError, r"params\['U'\] must be an array"),
        (INDICES, {"V": 1.0}, ValueError, "params must have the keys"),
        (INDICES.astype(int) + 2**33, {}, ValueError, "xs must be indices in 0..4"),
    ],
    ids=["no time", "booleans", "no U", "others", "large"],
)
def test_bad_input(xs, params, error, says):
    with pytest.raises(error, match=says):
        jbptt.unroll(jbptt.lstm, problem(jbptt.lstm, INDICES)[0] | params, xs)


def test_second_derivatives_and_forward_mode():
    params, indices, one_hot, state = problem(jbptt.gru, INDICES)

    def cost(xs, params):
        return jnp.sum(jnp.sin(jbptt.unroll(jbptt.gru, params, xs, state)[1]))

    def along(xs):
        gradient = jax.grad(partial(cost, xs))
        return jax.jvp(gradient, (params,), (params,))[1], jax.jvp(partial(cost, xs), (params,), (params,))

    assert_close(along(indices), along(one_hot))


def test_vmap_over_sequences_and_over_models():
    params, _, _, _ = problem(jbptt.lstm, INDICES)
    many = np.stack([INDICES, INDICES[::-1], INDICES[:, ::-1]])
    models = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), params)

    def gradient(params, xs):
        return jax.grad(lambda params: jnp.sum(jnp.sin(jbptt.unroll(jbptt.lstm, params, xs)[1])))(params)

    one_hot = jax.nn.one_hot(many, SIZES.I, dtype=jnp.float64)
    for axes, of in ((None, 0), params), ((0, 0), models), ((0, None), models):
        xs, rows = (many, one_hot) if axes[1] == 0 else (INDICES, one_hot[0])
        assert_close(*[jax.vmap(gradient, axes)(of, given) for given in (jnp.asarray(xs), rows)])


def test_layers_networks_and_mixed_precision():
    key = jax.random.key(0)
    layers = [jbptt.Bidirectional(jbptt.gru, jbptt.lstm), jbptt.rnn]
    params = jbptt.stack_init(key, layers, SIZES.I, SIZES.H, dtype=jnp.float64)
    network = jbptt.network_init(key, jbptt.lstm, SIZES.I, SIZES.H, 3, dtype=jnp.float64)
    indices, one_hot = problem(jbptt.lstm, INDICES)[1:3]
    lengths = np.array([6, 2, 0, 5])
    assert_close(*[jbptt.stack(layers, params, xs, lengths=lengths) for xs in (indices, one_hot)])
    assert_close(*[jbptt.mimo(jbptt.lstm, network, xs) for xs in (indices, one_hot)])
    state, hs = jbptt.unroll(jbptt.lstm, network["cell"], indices, compute_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in (*state, hs)} == {jnp.dtype(jnp.bfloat16)}


def test_a_rule_with_a_projection_of_its_own_is_given_one_hot_rows():
    def project(consts, xs):
        return 2 * jnp.einsum("...i,ij->...j", xs, consts.params["U"])

    def project_vjp(consts, xs, deltas):
        dconsts, dxs = pieces.project_vjp(consts, xs, 2 * deltas)
        return dconsts, dxs

    rule = jbptt.rnn.rule._replace(project=project, project_vjp=project_vjp, takes_indices=False)
    assert_close(*of_both(jbptt.rnn._replace(rule=rule), STRAY))


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_batches(axis_type):
    params, indices, one_hot, _ = problem(jbptt.lstm, STRAY)
    expected = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(jbptt.unroll(jbptt.lstm, params, one_hot)[1]))))(params)
    mesh = mesh_of(2, axis_type)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(indices, NamedSharding(mesh, PartitionSpec(None, "batch")))
        whole = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))

        @jax.jit
        def gradient(params, xs):
            return jax.grad(lambda params: jnp.sum(jnp.sin(jbptt.unroll(jbptt.lstm, params, xs)[1])))(params)

        assert_close(jax.device_get(gradient(whole, sharded)), jax.device_get(expected))


@pytest.mark.parametrize(
    ("name", "mutant"),
    {
        "negative ones count from the end": {"_none_from_the_end": lambda indices, number: indices},
        "all but the last of the same are lost": {
            "rows_gradient": lambda indices, delta, number: jnp.zeros((number, delta.shape[-1])).at[indices].set(delta)
        },
    }.items(),
)
def test_mutants(name, mutant):
    """The comparison with one-hot rows must see them."""
    if "rows_gradient" in mutant:
        project_vjp = planted(pieces.project_vjp, **mutant)
    else:
        project_vjp = planted(pieces.project_vjp, rows_gradient=planted(rows.rows_gradient, **mutant))
    cell = jbptt.rnn._replace(rule=jbptt.rnn.rule._replace(project_vjp=project_vjp))
    params, indices, one_hot, state = problem(jbptt.rnn, STRAY)
    mutated = partial(lambda xs, params, state: jbptt.unroll(cell, params, xs, state), indices)
    plain = partial(lambda xs, params, state: jbptt.unroll(jbptt.rnn, params, xs, state), one_hot)
    assert_caught(mutated, plain, (params, state))
    assert_gradients_match(
        partial(lambda xs, params, state: jbptt.unroll(jbptt.rnn, params, xs, state), indices), plain, (params, state)
    )
