"""Recurrent dropout and zoneout: against NumPy, against scaled weights, and what their keys do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_time
import pytest
from helpers import (
    LENGTHS,
    RESETS,
    ROWS_BY_NAME,
    SIZES,
    assert_caught,
    assert_close,
    assert_gradients_match,
    to_numpy,
    twins,
)

import jbptt
from jbptt.cells.table import CELLS
from jbptt.recurrence.regularisation import dropout_mask, zoneout_masks

KEY = jax.random.key(11)
RATE = 0.4
MASKING = [name for name, cell in CELLS.items() if "h_mask" in cell.rule.reads]


def arguments(name):
    return twins(ROWS_BY_NAME[name])[2]


def rows_of_W_times(mask, params):
    """diag(m) W, whatever its layout: (h ⊙ m) W = h (diag(m) W)."""
    W = params["W"]
    if W.ndim == 1:
        return params | {"W": W * mask}
    rows = mask.reshape(W.shape[:-1])
    return params | {"W": W * jnp.broadcast_to(rows[..., None], W.shape)}


@pytest.mark.parametrize("name", MASKING)
def test_recurrent_dropout_is_weights_without_rows(name):
    """Of each sequence by itself, values and gradients."""
    cell, args = CELLS[name], arguments(name)
    state = args[2]
    mask = dropout_mask(jax.random.split(KEY)[0], RATE, state.h)

    def apart(params, xs, state):
        runs = [
            jbptt.unroll(
                cell, rows_of_W_times(mask[b], params), xs[:, b], jax.tree.map(lambda leaf, b=b: leaf[b], state)
            )
            for b in range(SIZES.B)
        ]
        states, hs = zip(*runs, strict=True)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), jnp.stack(hs, axis=1)

    assert 0 < np.mean(mask == 0) < 1
    dropped = partial(jbptt.unroll, cell, recurrent_dropout=RATE, key=KEY)
    assert_gradients_match(dropped, apart, args)


@pytest.mark.parametrize("key", [KEY, None], ids=["drawn", "mean"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "lstm_projected", "clockwork", "slstm"])
def test_zoneout_is_that_of_numpy(name, reverse, key):
    params, xs, state = arguments(name)
    floating = [jnp.issubdtype(field.dtype, jnp.floating) for field in state]
    rates = [RATE if is_floating else 0.0 for is_floating in floating]
    stay = zoneout_masks(None if key is None else jax.random.split(key)[1], rates, state, SIZES.T)
    stay = [np.reshape(of_field, (SIZES.T, -1, *[1] * (field.ndim - 1))) if np.ndim(of_field) == 1 else of_field
            for of_field, field in zip(stay, state, strict=True)]  # fmt: skip
    options = {"lengths": LENGTHS, "resets": RESETS, "reverse": reverse}
    final, hs = jbptt.unroll(CELLS[name], params, xs, state, **options, zoneout=RATE, key=key)
    expected = numpy_time.unroll(name, *to_numpy((params, xs, state)), **options, stay=to_numpy(stay))
    assert_close((list(final), hs), expected, 1e-13)


def test_every_field_of_the_state_may_have_its_rate():
    params, xs, state = arguments("lstm")
    run = partial(jbptt.unroll, jbptt.lstm, params, xs, state)
    assert_close(run(zoneout=jbptt.LSTMState(0.2, 0.2), key=KEY), run(zoneout=0.2, key=KEY), tolerance=0)
    after, _ = jbptt.unroll(jbptt.lstm, params, xs[:1], state, zoneout=jbptt.LSTMState(h=0.0, c=0.5), key=KEY)
    stayed = np.asarray(after.c == state.c)
    assert 0 < np.mean(stayed) < 1
    assert not np.any(after.h == state.h)


def test_the_rate_is_the_part_that_stays():
    params = jbptt.gru.init(KEY, 3, 200)
    _, hs = jbptt.unroll(jbptt.gru, params, jax.random.normal(KEY, (50, 20, 3), jnp.float32), zoneout=0.3, key=KEY)
    stayed = np.asarray(hs)[1:] == np.asarray(hs)[:-1]
    np.testing.assert_allclose(np.mean(stayed), 0.3, atol=0.005)  # 2·10⁵ draws: 0.001 is one deviation


def test_the_key_decides_and_without_one_there_is_no_dropout():
    params, xs, state = arguments("lstm")
    run = partial(jbptt.unroll, jbptt.lstm, params, xs, state)
    dropped = partial(run, recurrent_dropout=0.5)
    assert_close(dropped(key=KEY), dropped(key=KEY), tolerance=0)
    assert np.any(dropped(key=KEY)[1] != dropped(key=jax.random.key(12))[1])
    assert_close(dropped(), run(), tolerance=0)


def test_a_key_that_nothing_is_drawn_with_is_of_no_matter():
    params, xs, state = arguments("lstm")
    run = partial(jbptt.unroll, jbptt.lstm, params, xs, state)
    assert_close(run(zoneout=jbptt.LSTMState(0.0, 0.0), recurrent_dropout=0.0, key=KEY), run(), tolerance=0)
    legacy = jax.random.PRNGKey(11)
    assert_close(run(zoneout=0.5, key=legacy), run(zoneout=0.5, key=KEY), tolerance=0)


def test_a_mask_for_every_sequence_and_its_mean_is_1():
    mask = np.asarray(dropout_mask(KEY, 0.25, jnp.zeros((400, 250), jnp.float32)))
    np.testing.assert_allclose(np.mean(mask == 0), 0.25, atol=0.006)  # 10⁵ draws: 0.0014 is one deviation
    np.testing.assert_allclose(np.unique(mask), [0, 4 / 3])


def test_layers_and_directions_draw_for_themselves():
    layers = (jbptt.lstm, jbptt.Bidirectional(jbptt.lstm, jbptt.lstm))
    params = jbptt.stack_init(KEY, layers, SIZES.I, SIZES.H, jnp.float64)
    xs = arguments("lstm")[1]
    rates = {"recurrent_dropout": 0.3, "zoneout": 0.2, "dropout": 0.1}
    run = partial(jbptt.stack, layers, **rates, key=KEY)
    assert_gradients_match(run, partial(run, vjp="auto"), (params, xs))
    assert np.any(run(params, xs)[1] != partial(run, key=jax.random.key(1))(params, xs)[1])
    one_step = jnp.zeros((1, 1, SIZES.H))
    both = jbptt.Bidirectional(jbptt.rnn, jbptt.rnn)
    square = jbptt.rnn.init(KEY, SIZES.H, SIZES.H, jnp.float64)
    ones = jbptt.RNNState(jnp.ones((1, SIZES.H)))
    _, hs = jbptt.bidirectional(both, (square, square), one_step, (ones, ones), zoneout=0.5, key=KEY)
    assert np.any(hs[..., : SIZES.H] != hs[..., SIZES.H :]), "the directions"
    states, _ = jbptt.stack([jbptt.rnn] * 2, [square] * 2, one_step, [ones, ones], zoneout=0.5, key=KEY)
    lower, upper = (np.asarray(state.h) == 1 for state in states)
    assert np.any(lower != upper), "the layers"


@pytest.mark.parametrize("key", [KEY, None], ids=["drawn", "mean"])
def test_padding_is_not_zoned(key):
    """Where the cell makes NaN of padding, its zeros, and where its h stays: neither value nor gradient has any."""
    inverse = jbptt.Activation("inverse", lambda z: z / jnp.abs(z), lambda a: a - a)  # 0/0 at z = 0
    cell = jbptt.rnn_cell(inverse, bias=False)
    params, xs, _ = arguments("rnn_nobias")
    run = partial(jbptt.unroll, cell, params, zoneout=RATE, key=key)
    lengths = np.array([2, 0, 5])

    def cost(xs, state):
        final, hs = run(xs, state, lengths=lengths)
        return jnp.sum(hs**2) + jnp.sum(final.h**2), final

    nothing = cell.initial_state(params, (SIZES.B,))  # so that z = x U, 0 in the padding of the sequence of length 0
    gradients, final = jax.grad(cost, (0, 1), has_aux=True)(xs, nothing)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((gradients, final)))
    assert_close(final.h[0], run(xs[:2], nothing)[0].h[0] if key is None else final.h[0])
    assert not np.any(final.h[1])


def test_mutant_without_the_mask_on_the_way_back():
    _, auto, args = twins(ROWS_BY_NAME["recurrent_dropout"])
    rule = jbptt.lstm.rule
    unmasked = rule._replace(
        prepare_backward=lambda consts: rule.prepare_backward(consts)._replace(h_mask=jnp.ones_like(consts.h_mask))
    )

    def mutated(params, xs, state, marks):
        options = {"recurrent_dropout": 0.5, "key": jax.random.key(0)}
        return jbptt.unroll(jbptt.lstm._replace(rule=unmasked), params, xs, state, **options)

    assert_close(mutated(*args), auto(*args))
    assert_caught(mutated, auto, args)


def call(cell=jbptt.lstm, **options):
    params = cell.init(KEY, 2, 4)
    return jbptt.unroll(cell, params, jnp.zeros((3, 1, 2), jnp.float32), **options)


@pytest.mark.parametrize(
    ("error", "message", "bad"),
    [
        (ValueError, r"zoneout must be at least 0 and below 1, got 1.5", lambda: call(zoneout=1.5)),
        (ValueError, r"recurrent_dropout must be at least 0", lambda: call(recurrent_dropout=-0.1)),
        (TypeError, r"recurrent_dropout must be a number", lambda: call(recurrent_dropout="a half", key=KEY)),
        (TypeError, r"zoneout must be a number, or LSTMState", lambda: call(zoneout=jbptt.GRUState(0.1))),
        (ValueError, r"zoneout\.c must be", lambda: call(zoneout=jbptt.LSTMState(0.1, 2.0))),
        (
            ValueError,
            r"zoneout\.t must be 0, for it is the rate of integers",
            lambda: call(jbptt.clockwork, zoneout=jbptt.ClockworkState(0.1, 0.1)),
        ),
        (TypeError, r"zoneout must be a number, or LSTMState\(...\) of them, got \[0.1\]", lambda: call(zoneout=[0.1])),
        (TypeError, r"key must be a JAX key", lambda: call(zoneout=0.1, key=0)),
        (TypeError, r"key must be a JAX key", lambda: call(zoneout=0.1, key=np.array([0, 1]))),
        (ValueError, r"key must be one key", lambda: call(zoneout=0.1, key=jax.random.split(KEY))),
        (
            ValueError,
            r"recurrent_dropout must be 0 for lstm_depth_gated",
            lambda: call(jbptt.lstm_depth_gated, recurrent_dropout=0.1, key=KEY),
        ),
    ],
)
def test_bad_input(error, message, bad):
    with pytest.raises(error, match=message):
        bad()
