"""Lengths, resets, reverse, truncation and checkpoints: against NumPy, against each other, and by their structure."""

from functools import partial

import chex
import hypothesis.strategies as st
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
    TOLERANCE,
    assert_close,
    assert_gradients_match,
    to_numpy,
    twins,
)
from hypothesis import given, settings

import jbptt
from jbptt.cells.table import CELLS
from jbptt.comparison.rows import Draws, Sizes

OF_TIME = ["rnn", "gru", "clockwork", "lstm_projected"]
KEY = jax.random.key(3)


def arguments(name):
    _, _, args = twins(ROWS_BY_NAME[name])
    return args, Draws(3, jnp.float64).state(lambda: args[2])


# Left padding, a gap, nothing at all.
MASK = np.arange(SIZES.T)[:, None] >= np.arange(SIZES.B)
MASK[SIZES.T // 2, 0] = False
MASK[:, -1] = False

OPTIONS = {
    "lengths": {"lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "reverse": {"reverse": True},
    "lengths, reverse": {"lengths": LENGTHS, "reverse": True},
    "lengths, resets": {"lengths": LENGTHS, "resets": RESETS},
    "mask": {"mask": MASK},
    "mask, lengths, resets, reverse": {"mask": MASK, "lengths": LENGTHS, "resets": RESETS, "reverse": True},
    "lengths, resets, reverse": {"lengths": LENGTHS, "resets": RESETS, "reverse": True},
}


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", OF_TIME)
def test_forward_is_that_of_each_sequence_by_itself(name, options, checkpoint):
    (params, xs, state), reset_state = arguments(name)
    options = OPTIONS[options] | ({"reset_state": reset_state} if "resets" in OPTIONS[options] else {})
    final, hs = jbptt.unroll(CELLS[name], params, xs, state, **options, checkpoint=checkpoint)
    expected = numpy_time.unroll(name, *to_numpy((params, xs, state)), **to_numpy(options))
    assert_close((list(final), hs), expected, 1e-13)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("padding", [{"lengths": LENGTHS}, {"mask": MASK}], ids=["lengths", "mask"])
def test_nothing_where_there_is_no_step_touches_anything(name, reverse, checkpoint, padding):
    """NaN in the padding and in the cotangents of its outputs: values and gradients are as with zeros there."""
    (params, xs, state), _ = arguments(name)
    past = ~MASK if "mask" in padding else np.arange(SIZES.T)[:, None] >= LENGTHS

    def value_and_gradients(filler):
        padded = jnp.where(past[..., None], filler, xs)
        run = partial(jbptt.unroll, CELLS[name], **padding, reverse=reverse, checkpoint=checkpoint)
        (final, hs), vjp = jax.vjp(run, params, padded, state)
        cotangents = jax.tree.map(jnp.ones_like, final), jnp.where(past[..., None], filler, jnp.ones_like(hs))
        return final, hs, vjp(cotangents)

    zeros, nans = value_and_gradients(0.0), value_and_gradients(jnp.nan)
    assert_close(nans, zeros, tolerance=0)
    chex.assert_tree_all_finite(nans)
    assert not np.any(np.asarray(zeros[1])[past])
    assert not np.any(np.asarray(zeros[2][1])[past]), "∂C/∂xs"


@pytest.mark.parametrize("both", [False, True], ids=["one cell", "both directions"])
def test_a_mask_is_as_if_the_other_steps_were_not_there(both):
    """With resets and truncation, values and gradients: against each sequence's own steps by themselves."""
    T, B, H = 12, 4, 6
    draws = Draws(5, jnp.float64)
    mask, resets = (np.array(draws.yes(part, T, B)) for part in (0.6, 0.3))
    layer = jbptt.Bidirectional(jbptt.gru, jbptt.gru) if both else jbptt.gru
    run = partial(jbptt.bidirectional if both else jbptt.unroll, layer, truncate=2)
    (params,) = draws.params(partial(jbptt.stack_init, dtype=jnp.float64), [layer], 3, H)
    xs = draws.normal(T, B, 3)

    def masked(params, xs):
        return run(params, xs, mask=mask, resets=resets)

    def one_by_one(params, xs):
        states, hs = [], jnp.zeros((T, B, 2 * H if both else H))
        for b in range(B):
            at = np.flatnonzero(mask[:, b])
            state, own = run(params, xs[at, b], resets=resets[at, b])
            states, hs = [*states, state], hs.at[at, b].set(own)
        return jax.tree.map(lambda *fields: jnp.stack(fields), *states), hs

    assert_gradients_match(masked, one_by_one, (params, xs))


@pytest.mark.parametrize("vjp", ["manual", "auto"])
def test_no_gradient_crosses_a_reset(vjp):
    (params, xs, state), reset_state = arguments("lstm")
    resets = np.zeros((SIZES.T, SIZES.B), bool)
    resets[2] = True

    def later(xs, state, reset_state):
        _, hs = jbptt.unroll(jbptt.lstm, params, xs, state, resets=resets, reset_state=reset_state, vjp=vjp)
        return jnp.sum(hs[2:] ** 2)

    dxs, dstate, dreset = jax.grad(later, (0, 1, 2))(xs, state, reset_state)
    assert not np.any(dxs[:2]) and np.all(np.any(np.asarray(dxs[2:]), axis=(1, 2)))
    assert not any(np.any(leaf) for leaf in dstate)
    assert all(np.all(leaf) for leaf in dreset)


def test_without_a_reset_state_the_gradient_flows_into_the_state():
    (params, xs, state), _ = arguments("gru")
    shared = partial(jbptt.unroll, jbptt.gru, resets=RESETS)

    def apart(params, xs, state):
        return jbptt.unroll(jbptt.gru, params, xs, state, resets=RESETS, reset_state=state)

    assert_gradients_match(shared, apart, (params, xs, state))
    dstate = jax.grad(lambda state: jnp.sum(shared(params, xs, state)[1][3:] ** 2))(state)
    assert np.all(dstate.h[0]), "example 0 is reset at 3"


@pytest.mark.parametrize("reverse", [False, True])
def test_truncated_is_in_chunks_with_the_state_stopped(reverse):
    """k = 2 of T = 5: chunks of 2, 2, 1 from the first step that is taken."""
    (params, xs, state), _ = arguments("lstm")

    def in_chunks(params, xs, state):
        xs = xs[::-1] if reverse else xs
        outputs = []
        for start in (0, 2, 4):
            state, hs = jbptt.unroll(jbptt.lstm, params, xs[start : start + 2], state)
            state = state if start == 4 else jax.lax.stop_gradient(state)
            outputs.append(hs)
        hs = jnp.concatenate(outputs)
        return state, hs[::-1] if reverse else hs

    truncated = partial(jbptt.unroll, jbptt.lstm, truncate=2, reverse=reverse)
    assert_gradients_match(truncated, in_chunks, (params, xs, state))


def test_truncated_in_reverse_is_counted_from_each_sequences_own_end():
    (params, xs, _), _ = arguments("lstm")

    def gradient(xs, **options):
        run = partial(jbptt.unroll, jbptt.lstm, params, reverse=True, truncate=2, **options)
        return jax.grad(lambda xs: jnp.sum(run(xs)[0].h[0]))(xs)

    alone = gradient(xs[:3, :1])
    assert_close(gradient(xs[:, :1], lengths=np.array([3]))[:3], alone)
    assert np.any(alone) and not np.all(alone)


@pytest.mark.parametrize("options", [{"truncate": 5}, {"truncate": 100}, {"checkpoint": 5}, {"checkpoint": 1}], ids=str)
def test_options_that_change_nothing(options):
    manual, _, args = twins(ROWS_BY_NAME["gru"])
    assert_gradients_match(partial(jbptt.unroll, jbptt.gru, **options), manual, args)


@pytest.mark.parametrize("checkpoint", [1, 2, 3, 4, "sqrt"])
@pytest.mark.parametrize("reverse", [False, True])
def test_checkpointed_is_not_checkpointed(checkpoint, reverse):
    (params, xs, state), reset_state = arguments("lstm")
    marks = {"lengths": LENGTHS, "resets": RESETS, "truncate": 3, "reverse": reverse}

    def run(params, xs, state, reset_state, **options):
        return jbptt.unroll(jbptt.lstm, params, xs, state, reset_state=reset_state, **marks, **options)

    args = params, xs, state, reset_state
    assert_gradients_match(partial(run, checkpoint=checkpoint), run, args)


def test_reversed_is_flipped():
    manual, _, args = twins(ROWS_BY_NAME["gru"])

    def flipped(params, xs, state):
        final, hs = manual(params, xs[::-1], state)
        return final, hs[::-1]

    assert_gradients_match(partial(jbptt.unroll, jbptt.gru, reverse=True), flipped, args)


def test_resets_with_a_carried_state_are_episodes_apart():
    """An episode cut by two calls: the state is carried, and a reset in the second goes back to zeros, not to it."""
    (params, xs, _), _ = arguments("lstm")
    zeros = jbptt.lstm.initial_state(params, (SIZES.B,))
    _, whole = jbptt.unroll(jbptt.lstm, params, xs, resets=RESETS)
    carried, first = jbptt.unroll(jbptt.lstm, params, xs[:2], resets=RESETS[:2])
    _, second = jbptt.unroll(jbptt.lstm, params, xs[2:], carried, resets=RESETS[2:], reset_state=zeros)
    assert_close(jnp.concatenate([first, second]), whole)


@st.composite
def runs(draw):
    """(cell, sizes, dtype, options): any shapes and any options together."""
    T, B = draw(st.integers(0, 6)), draw(st.integers(1, 3))
    options = {"reverse": draw(st.booleans())}
    options["truncate"] = draw(st.none() | st.integers(1, 7))
    options["checkpoint"] = draw(st.none() | st.integers(1, 7) | st.just("sqrt"))
    if draw(st.booleans()):
        options["lengths"] = np.array(draw(st.lists(st.integers(0, T), min_size=B, max_size=B)))
    if draw(st.booleans()):
        rows = st.lists(st.booleans(), min_size=B, max_size=B)
        options["resets"] = np.array(draw(st.lists(rows, min_size=T, max_size=T)), bool).reshape(T, B)
    if draw(st.booleans()):
        options |= {"recurrent_dropout": 0.5, "zoneout": 0.4, "key": draw(st.sampled_from([KEY, None]))}
    cell = draw(st.sampled_from(["rnn_relu", "lstm", "gru", "clockwork", "lstm_projected"]))
    dtype = draw(st.sampled_from(["float64", "float32", "bfloat16"]))
    return cell, Sizes(T, B, draw(st.integers(1, 3)), 4), dtype, options


@pytest.mark.full
@given(runs())
@settings(max_examples=6)
def test_any_options_together(run):
    name, sizes, dtype, options = run
    args = Draws(3, jnp.dtype(dtype)).of_cell(CELLS[name], sizes)
    manual, auto = (partial(jbptt.unroll, CELLS[name], **options, vjp=vjp) for vjp in ("manual", "auto"))
    assert_gradients_match(manual, auto, args, tolerance=TOLERANCE[dtype])
    if "key" in options or dtype != "float64":
        return
    plain = {key: value for key, value in options.items() if key not in ("truncate", "checkpoint")}
    final, hs = manual(*args)
    expected = numpy_time.unroll(name, *to_numpy(args), **plain) if sizes.T else (list(args[2]), hs)
    assert_close((list(final), hs), expected, 1e-13)


def test_lengths_that_are_constants_inside_jit():
    (params, xs, state), _ = arguments("gru")
    known, too_long = jnp.asarray(LENGTHS), jnp.asarray(LENGTHS + 1)
    run = jax.jit(lambda xs: jbptt.unroll(jbptt.gru, params, xs, state, lengths=known))
    assert_close(run(xs), jbptt.unroll(jbptt.gru, params, xs, state, lengths=LENGTHS))
    with pytest.raises(ValueError, match="lengths must be in"):
        jax.jit(lambda xs: jbptt.unroll(jbptt.gru, params, xs, state, lengths=too_long))(xs)


def test_padding_that_the_activation_has_no_slope_at():
    """h is put out as 0 past the end, where this f′ is infinite: it is not to meet the 0 that comes back."""
    root = jbptt.Activation("root", lambda z: jnp.sqrt(jnp.abs(z)), lambda a: 1 / (2 * a))
    cell = jbptt.rnn_cell(root)
    params, xs, _ = Draws(3, jnp.float64).of_cell(cell, SIZES)
    params = jax.tree.map(jnp.abs, params)
    gradients = jax.grad(lambda p, xs: jnp.sum(jbptt.unroll(cell, p, xs, lengths=LENGTHS)[1]), (0, 1))(params, abs(xs))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def residual_bytes(T, **options):
    """Of what `jax.vjp` holds between the forward and the backward, less the arguments."""
    params = jbptt.lstm.init(KEY, 8, 16)
    xs = jnp.zeros((T, 4, 8), jnp.float32)
    _, vjp = jax.vjp(partial(jbptt.unroll, jbptt.lstm, params, **options), xs)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) - xs.nbytes - sum(leaf.nbytes for leaf in params.values())


def test_checkpointed_residuals_are_a_state_a_segment():
    """Two fields [B, H] of float32 for each of the T/k segments: at T = 1000 with segments of √T, less than a tenth."""
    state = 2 * 4 * 16 * 4
    assert residual_bytes(1000, checkpoint=10) <= 100 * state + 1024
    assert residual_bytes(2000, checkpoint=10) <= 200 * state + 1024
    assert residual_bytes(1000, checkpoint="sqrt") < 0.1 * residual_bytes(1000)
