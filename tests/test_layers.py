"""Layers in both directions, and one above the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import LENGTHS, RESETS, SIZES, assert_close, assert_gradients_match

import jbptt

BOTH = jbptt.Bidirectional(jbptt.lstm, jbptt.gru)
LAYERS = (jbptt.lstm, BOTH, jbptt.rnn)
KEY = jax.random.key(5)
XS = jax.random.normal(KEY, (SIZES.T, SIZES.B, SIZES.I))
PARAMS = jbptt.stack_init(KEY, LAYERS, SIZES.I, SIZES.H, jnp.float64)
OF_BOTH = jbptt.stack_init(KEY, [BOTH], SIZES.I, SIZES.H, jnp.float64)[0]


def test_both_directions_are_one_and_the_flip_of_the_other():
    def apart(params, xs):
        forward_state, forward = jbptt.unroll(jbptt.lstm, params[0], xs)
        backward_state, backward = jbptt.unroll(jbptt.gru, params[1], xs[::-1])
        return (forward_state, backward_state), jnp.concatenate([forward, backward[::-1]], axis=-1)

    assert_gradients_match(partial(jbptt.bidirectional, BOTH), apart, (OF_BOTH, XS))


def test_each_sequence_is_reversed_within_its_own_length():
    _, hs = jbptt.bidirectional(BOTH, OF_BOTH, XS, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        _, alone = jbptt.bidirectional(BOTH, OF_BOTH, XS[:length, b])
        assert_close(hs[:length, b], alone)
        assert not np.any(hs[length:, b])


def test_a_reset_in_the_padding_is_none():
    states = jax.tree.map(jnp.ones_like, jbptt.bidirectional(BOTH, OF_BOTH, XS)[0])
    run = partial(jbptt.bidirectional, BOTH, OF_BOTH, XS, lengths=LENGTHS, reset_state=states)
    at_the_ends = np.arange(SIZES.T)[:, None] == LENGTHS
    assert_close(run(resets=at_the_ends), run(resets=np.zeros_like(at_the_ends)), tolerance=0)


def test_reset_states_are_one_a_layer():
    states = [jax.tree.map(jnp.ones_like, state) for state in jbptt.stack(LAYERS, PARAMS, XS)[0]]
    resets = np.zeros((SIZES.T, SIZES.B), bool)
    resets[2] = True
    _, hs = jbptt.stack(LAYERS[:1], PARAMS[:1], XS, resets=resets, reset_states=states[:1])
    assert_close(hs[2:], jbptt.unroll(jbptt.lstm, PARAMS[0], XS[2:], states[0])[1])
    _, hs = jbptt.stack(LAYERS, PARAMS, XS, resets=resets, reset_states=states)
    assert np.any(hs != jbptt.stack(LAYERS, PARAMS, XS, resets=resets)[1])


def test_no_state_crosses_the_beginning_of_an_episode_in_either_direction():
    resets = np.zeros((SIZES.T, SIZES.B), bool)
    resets[2] = True
    _, hs = jbptt.bidirectional(BOTH, OF_BOTH, XS, resets=resets)
    episodes = [jbptt.bidirectional(BOTH, OF_BOTH, part)[1] for part in (XS[:2], XS[2:])]
    assert_close(hs, jnp.concatenate(episodes))


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"resets": RESETS, "checkpoint": 2}], ids=str)
def test_a_stack_is_its_layers_one_by_one_and_its_gradients_are_jaxs(options):
    def one_by_one(params, xs):
        first, hs = jbptt.unroll(jbptt.lstm, params[0], xs, **options)
        second, hs = jbptt.bidirectional(BOTH, params[1], hs, **options)
        third, hs = jbptt.unroll(jbptt.rnn, params[2], hs, **options)
        return (first, second, third), hs

    stack = partial(jbptt.stack, LAYERS, **options)
    assert_close(jax.jit(stack)(PARAMS, XS), jax.jit(one_by_one)(PARAMS, XS))
    assert_gradients_match(stack, partial(stack, vjp="auto"), (PARAMS, XS))


def test_chunks_with_carried_states_are_the_whole():
    layers = (jbptt.lstm, jbptt.gru)
    params = jbptt.stack_init(KEY, layers, SIZES.I, SIZES.H, jnp.float64)

    def in_chunks(params, xs):
        states, first = jbptt.stack(layers, params, xs[:2])
        states, second = jbptt.stack(layers, params, xs[2:], states)
        return states, jnp.concatenate([first, second])

    assert_gradients_match(in_chunks, partial(jbptt.stack, layers), (params, XS))


def test_dropout_is_between_layers_only_and_its_key_decides():
    layers = (jbptt.rnn, jbptt.rnn)
    params = jbptt.stack_init(KEY, layers, SIZES.I, 64, jnp.float64)
    xs = jax.random.normal(KEY, (50, 8, SIZES.I))
    run = partial(jbptt.stack, layers, params, xs, dropout=0.25)
    (below, _), hs = run(key=KEY)
    assert_close((below, hs), ((run(key=KEY)[0][0]), run(key=KEY)[1]), tolerance=0)
    assert np.any(run(key=jax.random.key(6))[1] != hs)
    (undropped, _), _ = jbptt.stack(layers, params, xs)
    assert_close(below, undropped, tolerance=0)
    assert_close(run(), jbptt.stack(layers, params, xs), tolerance=0)
    assert_close(
        jbptt.stack(layers[:1], params[:1], xs, dropout=0.25, key=KEY), jbptt.stack(layers[:1], params[:1], xs)
    )
    manual, auto = (partial(jbptt.stack, layers, dropout=0.25, key=KEY, vjp=vjp) for vjp in ("manual", "auto"))
    assert_gradients_match(manual, auto, (params, xs))


BAD = {
    "one layer's params": (
        r"params must be one for each of 3 layers, got 1",
        lambda: jbptt.stack(LAYERS, PARAMS[:1], XS),
    ),
    "too many states": (r"states must be one", lambda: jbptt.stack(LAYERS, PARAMS, XS, [None] * 4)),
    "dropout of 1": (r"dropout must be", lambda: jbptt.stack(LAYERS, PARAMS, XS, dropout=1.0, key=KEY)),
    "no layers": (r"at least one cell", lambda: jbptt.stack([], [], XS)),
    "a dict for a pair": (r"params must be a pair", lambda: jbptt.bidirectional(BOTH, {}, XS)),
    "reverse of both": (r"leave it out", lambda: jbptt.stack(LAYERS, PARAMS, XS, reverse=True)),
    "resets of True": (r"resets must have shape", lambda: jbptt.bidirectional(BOTH, OF_BOTH, XS, resets=True)),
    "reset states alone": (r"give resets", lambda: jbptt.bidirectional(BOTH, OF_BOTH, XS, reset_state=(1, 2))),
}
WRONG_TYPES = {
    "a name for a layer": (r"layers\[1\] must be a jbptt.Cell", lambda: jbptt.stack([jbptt.gru, "gru"], [{}, {}], XS)),
    "a name in a Bidirectional": (
        r"layers\[0\] must be a jbptt.Cell",
        lambda: jbptt.stack_init(KEY, [jbptt.Bidirectional("gru", "gru")], 4, 4),
    ),
    "a layer for layers": (r"layers must be a list", lambda: jbptt.stack(BOTH, OF_BOTH, XS)),
    "a cell for layers": (r"layers must be a list", lambda: jbptt.stack_init(KEY, jbptt.lstm, 4, 4)),
    "no params": (r"params must be a list", lambda: jbptt.stack(LAYERS, None, XS)),
    "text for dropout": (r"dropout must be a number", lambda: jbptt.stack(LAYERS, PARAMS, XS, dropout="a")),
    "a cell for both": (r"layer must be", lambda: jbptt.bidirectional(jbptt.lstm, OF_BOTH, XS)),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_types(name):
    message, call = WRONG_TYPES[name]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    message, call = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_layers_of_different_sizes():
    layers = (jbptt.gru, jbptt.Bidirectional(jbptt.rnn, jbptt.lstm), jbptt.rnn)
    params = jbptt.stack_init(jax.random.key(0), layers, 3, [4, 5, 6])
    _, hs = jbptt.stack(layers, params, jnp.ones((2, 1, 3), jnp.float32))
    assert hs.shape == (2, 1, 6)
    assert params[1][1]["W"].shape == (5, 20) and params[2]["U"].shape == (10, 6)
    with pytest.raises(ValueError, match="hidden_size must be an int or one for each of 3 layers, got 2"):
        jbptt.stack_init(jax.random.key(0), layers, 3, (4, 5))


def test_padded_sequences_are_each_by_itself():
    sequences = [jax.random.normal(jax.random.key(n), (n, 3)) for n in (4, 0, 2)]
    xs, lengths = jbptt.pad(sequences)
    assert xs.shape == (4, 3, 3) and lengths.tolist() == [4, 0, 2]
    params = jbptt.gru.init(jax.random.key(0), 3, 5, jnp.float64)
    state, _ = jbptt.unroll(jbptt.gru, params, xs, lengths=lengths)
    for n, sequence in enumerate(sequences):
        assert_close(state.h[n], jbptt.unroll(jbptt.gru, params, sequence)[0].h)


@pytest.mark.parametrize(
    ("error", "message", "bad"),
    [
        (ValueError, "sequences must be a list of at least one array", []),
        (ValueError, r"sequences\[1\] must have shape \[length, ...\] = \[2, 3\], got \[2, 4\]", [(1, 3), (2, 4)]),
        (ValueError, r"sequences\[0\] must have shape \[length, ...\], got a scalar", [()]),
    ],
)
def test_sequences_that_cannot_be_padded(error, message, bad):
    with pytest.raises(error, match=message):
        jbptt.pad([jnp.ones(shape) for shape in bad])
