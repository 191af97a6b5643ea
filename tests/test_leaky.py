"""The leaky cell of neuroscience, its wiring, and noise at every step."""

import copy
import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_caught, assert_close, assert_gradients_match, full
from numpy_loops import leaky_rnn

import jbptt
from jbptt.cells.table import CELLS
from jbptt.comparison.rows import Draws, Sizes
from jbptt.feedforward.layer import weight_gradient

SIZES = Sizes(T=5, B=3, I=2, H=6)
MASK = np.random.default_rng(0).random((6, 6)) < 0.7
SIGNS = np.array([1, 1, -1, 1, -1, 1])
WIRINGS = {"mask": {"mask": MASK}, "signs": {"signs": SIGNS}, "both": {"mask": MASK, "signs": SIGNS}}
KEY = jax.random.key(7)


def drawn(cell, sizes=SIZES):
    return Draws(3, jnp.float64).of_cell(cell, sizes)


@pytest.mark.parametrize("wiring", [{}, *WIRINGS.values()], ids=["full", *WIRINGS])
def test_of_a_numpy_loop(wiring):
    cell = jbptt.leaky_rnn_cell(alpha=0.3, **wiring)
    params, xs, state = drawn(cell)
    last, hs = jbptt.unroll(cell, params, xs, state)
    arrays = jax.tree.map(np.asarray, (params, xs, tuple(state)))
    expected_last, expected = leaky_rnn(*arrays, 0.3, **wiring)
    assert_close((last.h, hs), (expected_last[0], expected))


@pytest.mark.parametrize(
    "activation",
    full((jbptt.relu, jbptt.tanh, jbptt.Activation("sin", jnp.sin, jnp.cos, "input")), but=(jbptt.relu,)),
    ids=lambda a: a.name,
)
@pytest.mark.parametrize("wiring", WIRINGS)
def test_gradients(wiring, activation):
    cell = jbptt.leaky_rnn_cell(activation, alpha=0.3, **WIRINGS[wiring])
    run = partial(jbptt.unroll, cell)
    assert_gradients_match(run, partial(run, vjp="auto"), drawn(cell))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_finite_differences_of_W(wiring):
    """The gradient of what is not there is 0, too."""
    cell = jbptt.leaky_rnn_cell(jbptt.tanh, **WIRINGS[wiring])
    params, xs, state = drawn(cell)

    def cost(W):
        return jnp.sum(jnp.sin(jbptt.unroll(cell, params | {"W": W}, xs, state)[1]))

    dW = jax.grad(cost)(params["W"])
    moves = jnp.eye(36, dtype=jnp.float64).reshape(36, 6, 6) * 1e-5
    slopes = jax.vmap(lambda move: (cost(params["W"] + move) - cost(params["W"] - move)) / 2e-5)(moves)
    np.testing.assert_allclose(dW, slopes.reshape(6, 6), atol=1e-8)
    if "mask" in WIRINGS[wiring]:
        assert not np.any(np.asarray(dW)[~MASK])


def test_a_weight_of_0_moves():
    cell = jbptt.leaky_rnn_cell(signs=SIGNS)
    params, xs, state = drawn(cell)
    run = partial(jbptt.unroll, cell)
    params = params | {"W": jnp.zeros_like(params["W"])}
    assert_gradients_match(run, partial(run, vjp="auto"), (params, xs, state))
    assert np.any(jax.grad(lambda params: jnp.sum(run(params, xs, state)[1]))(params)["W"] != 0)


def test_a_whole_step_is_the_simple_cell():
    params, xs, state = drawn(jbptt.rnn)
    one = jbptt.unroll(jbptt.leaky_rnn_cell(jbptt.tanh, alpha=1), params, xs, state)
    jax.tree.map(assert_close, one, jbptt.unroll(jbptt.rnn, params, xs, state))


def test_mutant_without_the_sign_of_W():
    cell = jbptt.leaky_rnn_cell(signs=SIGNS)

    def weight_vjp(consts, residuals, deltas):
        gradients = cell.rule.weight_vjp(consts, residuals, deltas)
        dW = SIGNS[:, None].astype(float) * weight_gradient(residuals.h_prev, deltas)
        return gradients._replace(params=gradients.params | {"W": dW})

    mutant = cell._replace(rule=cell.rule._replace(weight_vjp=weight_vjp))
    assert_caught(partial(jbptt.unroll, mutant), partial(jbptt.unroll, cell, vjp="auto"), drawn(cell))


def test_W_starts_balanced():
    signs = np.where(np.arange(50) < 40, 1, -1)
    mask = np.random.default_rng(0).random((50, 50)) < 0.5
    cell = jbptt.leaky_rnn_cell(mask=mask, signs=signs)
    W = np.abs(cell.init(KEY, 3, 50)["W"]) * signs[:, None] * mask
    np.testing.assert_allclose(np.sum(W**2, axis=0), 1, rtol=1e-5)
    assert np.max(np.abs(np.linalg.eigvals(W))) < 1.5
    assert np.abs(np.mean(np.sum(W, axis=0))) < 0.2 * np.mean(np.sum(np.abs(W), axis=0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": 0}, "alpha must be above 0"),
        ({"alpha": 1.5}, "alpha must be above 0 and at most 1"),
        ({"mask": np.ones((3, 4))}, r"mask must have shape \[H, H\]"),
        ({"mask": np.ones(3)}, r"mask must have shape \[H, H\]"),
        ({"mask": 2 * np.ones((3, 3))}, "mask must be of 0 and 1"),
        ({"signs": [1, 0]}, "signs must be of -1 and 1"),
        ({"signs": np.ones(3), "mask": np.ones((4, 4))}, r"signs \[H\], got \[4, 4\] and \[3\]"),
    ],
    ids=str,
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        jbptt.leaky_rnn_cell(**options)


def test_another_number_of_units_is_named():
    cell = jbptt.leaky_rnn_cell(signs=SIGNS)
    with pytest.raises(ValueError, match="hidden_size must be 6 as the cell's mask or signs have it, got 8"):
        cell.init(KEY, 2, 8)
    with pytest.raises(ValueError, match="hidden_size must be 6"):
        jbptt.unroll(cell, jbptt.leaky_rnn.init(KEY, 2, 8), jnp.ones((2, 1, 2), jnp.float32))


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"reverse": True, "lengths": np.array([5, 0, 2])}], ids=str)
@pytest.mark.parametrize("name", full(("leaky_rnn", "lstm", "lstm_depth_gated"), but=("lstm",)))
def test_gradients_with_noise(name, options):
    cell = getattr(jbptt, name)
    run = partial(jbptt.unroll, cell, noise=0.4, key=KEY, **options)
    assert_gradients_match(run, partial(run, vjp="auto"), drawn(cell))


def test_noise_is_another_input():
    """Of a simple cell: as though xs had H features more, which U adds to z as they are."""
    params, xs, state = drawn(jbptt.rnn)
    noisy = jbptt.unroll(jbptt.rnn, params, xs, state, noise=0.4, key=KEY)
    xi = 0.4 * jax.random.normal(jax.random.fold_in(KEY, 2), (SIZES.T, SIZES.B, SIZES.H), jnp.float64)
    wider = params | {"U": jnp.concatenate([params["U"], jnp.eye(SIZES.H, dtype=jnp.float64)])}
    jax.tree.map(assert_close, noisy, jbptt.unroll(jbptt.rnn, wider, jnp.concatenate([xs, xi], -1), state))


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"lengths": np.array([5, 0, 2])}], ids=str)
@pytest.mark.parametrize("name", full(CELLS, but=("lstm", "gru", "lstm_depth_gated", "lstm_layer_norm")))
def test_gradient_of_the_deviation(name, options):
    args = Draws(3, jnp.float64).of_cell(CELLS[name], SIZES._replace(H=8))

    def run(deviation, vjp="manual"):
        return jbptt.unroll(CELLS[name], *args, noise=deviation, key=KEY, vjp=vjp, **options)

    assert_gradients_match(run, partial(run, vjp="auto"), (jnp.asarray(0.4, jnp.float64),))


def test_wirings_are_what_they_were_when_the_cell_was_made():
    mask = np.ones((4, 4))
    cell, other = jbptt.leaky_rnn_cell(mask=mask), jbptt.leaky_rnn_cell(mask=jnp.ones((5, 5)))
    mask[0] = 0
    assert pickle.loads(pickle.dumps(cell)) == cell != jbptt.leaky_rnn_cell(mask=mask)
    assert copy.deepcopy(other) == other


def test_what_is_not_there_starts_at_0():
    W = jbptt.leaky_rnn_cell(mask=[[0, 1], [0, 1]]).init(KEY, 2, 2)["W"]
    assert not np.any(W[:, 0]) and np.all(np.isfinite(W))


def test_no_noise_without_a_key_or_at_0_and_a_traced_deviation():
    params, xs, state = drawn(jbptt.rnn)
    plain = jbptt.unroll(jbptt.rnn, params, xs, state)
    for options in ({"noise": 0.4}, {"noise": 0.0, "key": KEY}):
        jax.tree.map(np.testing.assert_array_equal, jbptt.unroll(jbptt.rnn, params, xs, state, **options), plain)
    traced = jax.jit(lambda noise: jbptt.unroll(jbptt.rnn, params, xs, state, noise=noise, key=KEY))
    jax.tree.map(assert_close, traced(0.4), jbptt.unroll(jbptt.rnn, params, xs, state, noise=0.4, key=KEY))
    for bad, error in ((-1.0, ValueError), (float("nan"), ValueError), ("a", TypeError)):
        with pytest.raises(error, match="noise must be"):
            jbptt.unroll(jbptt.rnn, params, xs, state, noise=bad)
