"""Sequence to sequence, with and without attention; and what decoders write with it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_gradients_match

import jbptt
from jbptt.networks.drawing import likeliest

S, T, B, H, V = 6, 4, 3, 8, 5
KEY = jax.random.key(2)
SOURCE = jax.random.randint(KEY, (S, B), 0, 7)
TARGET = jax.random.randint(KEY, (T, B), 0, V)
SOURCE_LENGTHS, TARGET_LENGTHS = np.array([6, 1, 4]), np.array([4, 0, 2])
END = 1
BOTH = jbptt.Bidirectional(jbptt.gru, jbptt.gru)
MODELS = {
    "states alike": jbptt.Seq2Seq((jbptt.lstm, jbptt.lstm), (jbptt.lstm, jbptt.lstm)),
    "bahdanau": jbptt.Seq2Seq((BOTH,), (jbptt.bahdanau_cell(jbptt.gru, memory_size=2 * H),)),
    "luong": jbptt.Seq2Seq((jbptt.rnn, jbptt.lstm), (jbptt.gru, jbptt.luong_cell(jbptt.lstm, score="concat"))),
}
every_model = pytest.mark.parametrize("name", MODELS)


def made(name):
    model = MODELS[name]
    return model, jbptt.seq2seq_init(KEY, model, 7, V, H, jnp.float64)


OPTIONS = {
    "lengths": {"source_lengths": SOURCE_LENGTHS, "target_lengths": TARGET_LENGTHS},
    "dropout": {
        "dropout": 0.4,
        "recurrent_dropout": 0.3,
        "key": jax.random.key(5),
        "target_lengths": TARGET_LENGTHS,
    },
}


@pytest.mark.parametrize("options", OPTIONS)
@every_model
def test_gradients_of_every_parameter(name, options):
    model, params = made(name)

    def run(vjp, params):
        return jbptt.seq2seq(model, params, SOURCE, TARGET, **OPTIONS[options], vjp=vjp)

    assert_gradients_match(partial(run, "manual"), partial(run, "auto"), (params,))


@every_model
def test_dropout_is_for_training_and_drops_embeddings_and_outputs(name):
    model, params = made(name)
    plain = jbptt.seq2seq(model, params, SOURCE, TARGET)
    assert_close(jbptt.seq2seq(model, params, SOURCE, TARGET, dropout=0.4, recurrent_dropout=0.4), plain)
    keys = jax.random.split(jax.random.key(5), 200)
    drawn = jax.vmap(lambda key: jbptt.seq2seq(model, params, SOURCE, TARGET, dropout=0.2, key=key))(keys)
    assert np.all(np.std(drawn, axis=0) > 0)
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        jbptt.seq2seq(model, params, SOURCE, TARGET, dropout=1.0)


@every_model
def test_each_pair_by_itself(name):
    """Padding touches nothing: the logits are those of the pair without it."""
    model, params = made(name)
    logits = jbptt.seq2seq(model, params, SOURCE, TARGET, **OPTIONS["lengths"])
    for b, (s, t) in enumerate(zip(SOURCE_LENGTHS, TARGET_LENGTHS, strict=True)):
        assert_close(logits[:t, b], jbptt.seq2seq(model, params, SOURCE[:s, b], TARGET[:t, b]))


@every_model
def test_what_is_written_is_what_teacher_forcing_would_say(name):
    """Greedily: each token is the likeliest given those before it, and the score is its log probability."""
    model, params = made(name)
    next, state = jbptt.decoder_of(model, params, SOURCE, source_lengths=SOURCE_LENGTHS)
    start = jnp.zeros(B, jnp.int32)
    tokens, lengths, scores = jax.jit(lambda: jbptt.greedy(next, state, start, end=END, steps=T))()
    given = jnp.concatenate([start[None], tokens[:-1]])
    log_p = jax.nn.log_softmax(jbptt.seq2seq(model, params, SOURCE, given, source_lengths=SOURCE_LENGTHS))
    for b in range(B):
        written = int(lengths[b])
        assert np.array_equal(tokens[:written, b], np.argmax(log_p[:written, b], axis=-1))
        assert np.all(tokens[written:, b] == END)
        counted = range(min(written + 1, T))
        np.testing.assert_allclose(scores[b], sum(log_p[t, b, tokens[t, b]] for t in counted), rtol=1e-12)


@every_model
def test_one_beam_is_greedy(name):
    model, params = made(name)
    next, state = jbptt.decoder_of(model, params, SOURCE, source_lengths=SOURCE_LENGTHS)
    start = jnp.zeros(B, jnp.int32)
    greedy = jbptt.greedy(next, state, start, end=END, steps=T)
    beam = jax.jit(lambda: jbptt.beam_search(next, state, start, end=END, steps=T, width=1))()
    assert_close(beam, greedy)


def test_a_reversed_encoder_is_one_that_reads_the_source_turned_round():
    """Each source about its own end; and what attention looks at stays where it was."""
    plain, params = made("states alike")
    turned = jnp.stack([jnp.roll(SOURCE[::-1, b], length - S) for b, length in enumerate(SOURCE_LENGTHS)], axis=1)
    expected = jbptt.seq2seq(plain, params, turned, TARGET, source_lengths=SOURCE_LENGTHS)
    reversed_ = plain._replace(reverse=True)
    assert_close(jbptt.seq2seq(reversed_, params, SOURCE, TARGET, source_lengths=SOURCE_LENGTHS), expected)

    luong, params = made("luong")
    alpha = jbptt.alignments(luong._replace(reverse=True), params, SOURCE, TARGET, source_lengths=SOURCE_LENGTHS)
    turned_alpha = jbptt.alignments(luong, params, turned, TARGET, source_lengths=SOURCE_LENGTHS)
    for b, length in enumerate(SOURCE_LENGTHS):
        assert_close(alpha[:, b, :length], turned_alpha[:, b, :length][:, ::-1])


@pytest.mark.parametrize("name", ["bahdanau", "luong"])
def test_alignments_are_shares_of_the_source(name):
    model, params = made(name)
    alpha = jbptt.alignments(model, params, SOURCE, TARGET, source_lengths=SOURCE_LENGTHS)
    assert alpha.shape == (T, B, S)
    np.testing.assert_allclose(alpha.sum(-1), 1)
    assert not np.any(alpha[..., np.arange(S)[None] >= SOURCE_LENGTHS[:, None]])
    for b, length in enumerate(SOURCE_LENGTHS):
        assert_close(alpha[:, b, :length], jbptt.alignments(model, params, SOURCE[:length, b], TARGET[:, b]))
    with pytest.raises(ValueError, match="decoder must end in"):
        jbptt.alignments(*made("states alike"), SOURCE, TARGET)


def chain(log_p):
    """A model whose next token depends on the last alone: tables of log probabilities [V, V]."""
    return lambda state, tokens: (state + 1, log_p[tokens])


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_that_hold_everything_find_the_best_of_all_sequences(penalty):
    log_p = jax.nn.log_softmax(jax.random.normal(KEY, (3, 3)) * 2)
    start, steps = jnp.array([0, 2]), 3
    search = {"end": END, "steps": steps, "width": 27, "length_penalty": penalty}
    found = jbptt.n_best(chain(log_p), jnp.zeros(2), start, **search)
    assert_close(
        jbptt.beam_search(chain(log_p), jnp.zeros(2), start, **search), jax.tree.map(lambda a: a[..., 0], found)
    )
    for b, first in enumerate([0, 2]):
        best = {}
        for a in np.ndindex(3, 3, 3):
            length = a.index(END) if END in a else steps
            written = (*a[:length], *[END] * (steps - length))
            score, before = 0.0, first
            for token in written[: length + 1]:
                score, before = score + float(log_p[before, token]), token
            best[written] = (score / (length + 1) ** penalty, score, length)
        for n, written in enumerate(sorted(best, key=best.get, reverse=True)):
            assert tuple(found.tokens[:, b, n].tolist()) == written
            np.testing.assert_allclose(found.scores[b, n], best[written][1], rtol=1e-12)
            assert found.lengths[b, n] == best[written][2]
        assert np.all(np.isneginf(found.scores[:, len(best) :])), "there are no others"


def test_drawn_tokens_have_their_probabilities():
    log_p = jnp.log(jnp.array([[0.2, 0.3, 0.5]] * 3))
    start = jnp.zeros(20_000, jnp.int32)
    drawn = jbptt.sampled(chain(log_p), jnp.zeros(20_000), start, KEY, end=END, steps=1)
    parts = np.bincount(np.asarray(drawn.tokens[0]), minlength=3) / 20_000
    np.testing.assert_allclose(parts, [0.2, 0.3, 0.5], atol=0.015)  # 0.0035 is one deviation
    cold = jbptt.sampled(chain(log_p), jnp.zeros(9), start[:9], KEY, end=END, steps=2, temperature=1e-3)
    assert np.all(cold.tokens == 2)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, [3]),
        ({"top_k": 3}, [3, 1, 0]),
        ({"top_k": 99}, [3, 1, 0, 2]),
        ({"top_p": 0.01}, [3]),
        ({"top_p": 0.6}, [3, 1]),
        ({"top_p": 0.85}, [3, 1, 0]),
        ({"top_k": 2, "top_p": 0.56}, [3]),  # 0.4 of the 0.7 that are left
        ({"top_k": 2, "top_p": 0.58}, [3, 1]),
        ({"top_p": 0.5, "temperature": 0.2}, [3]),
    ],
)
def test_tokens_are_drawn_from_the_likeliest(options, kept):
    log_p = jnp.log(jnp.array([[0.2, 0.3, 0.1, 0.4]] * 4))
    start = jnp.zeros(5_000, jnp.int32)
    drawn = jbptt.sampled(chain(log_p), jnp.zeros(5_000), start, KEY, end=END, steps=1, **options)
    parts = np.bincount(np.asarray(drawn.tokens[0]), minlength=4) / 5_000
    p = np.where(np.isin(range(4), kept), np.exp(log_p[0]) ** (1 / options.get("temperature", 1)), 0)
    np.testing.assert_allclose(parts, p / p.sum(), atol=0.03)  # 0.007 is one deviation
    assert set(np.flatnonzero(parts)) == set(kept)
    np.testing.assert_allclose(drawn.scores, log_p[0, drawn.tokens[0]], rtol=1e-12)  # the model's


def test_what_is_as_likely_as_the_last_that_is_kept_is_kept():
    np.testing.assert_array_equal(likeliest(jnp.zeros((2, 3)), 1, 0.1), np.zeros((2, 3)))
    np.testing.assert_array_equal(likeliest(jnp.array([0.0, 2.0, 0.0, 1.0]), 3, 1.0), [0, 2, 0, 1])


@pytest.mark.parametrize("decode", ["greedy", "sampled", "beam_search"])
def test_scores_are_summed_in_float32_at_least(decode):
    """40 steps of log 1/3 by bfloat16 logits."""
    more = {"greedy": {}, "sampled": {"key": KEY}, "beam_search": {"width": 2}}[decode]
    third = jnp.zeros((4, 4), jnp.bfloat16).at[:, 3].set(-jnp.inf)  # it never ends
    found = getattr(jbptt, decode)(
        lambda state, tokens: (state, third[tokens]), jnp.zeros(1), jnp.zeros(1, int), end=3, steps=40, **more
    )
    assert found.scores.dtype == jnp.float32
    np.testing.assert_allclose(found.scores, -40 * np.log(3), rtol=1e-5)


@pytest.mark.parametrize("cell", [jbptt.bahdanau_cell(jbptt.gru), jbptt.luong_cell(jbptt.lstm, score="concat")])
def test_attention_in_numpy(cell):
    """A step of each from its equations."""
    params = cell.init(KEY, 4, H, jnp.float64)
    memory, xs = jax.random.normal(KEY, (S, B, H)), jax.random.normal(KEY, (1, B, 4))
    ready = jbptt.with_memory(params, memory, SOURCE_LENGTHS)
    state = jax.tree.map(lambda leaf: jax.random.normal(KEY, leaf.shape), cell.initial_state(params, (B,)))
    after, _ = jbptt.unroll(cell, ready, xs, state)
    p = {name: np.asarray(leaf) for name, leaf in params.items()}
    inner, plain = (jbptt.gru, state) if "bahdanau" in cell.name else (jbptt.lstm, state.inner)
    for b in range(B):
        m = np.asarray(memory)[: SOURCE_LENGTHS[b], b]

        def context(h, m=m):
            e = np.tanh(h @ p["Wq"] + m @ p["Wk"]) @ p["v"]
            alpha = np.exp(e) / np.sum(np.exp(e))
            return alpha @ m

        of_b = jax.tree.map(lambda leaf, b=b: leaf[b], plain)
        fed = context(np.asarray(of_b.h)) if inner is jbptt.gru else np.asarray(state.h[b])
        joined = {"U": np.concatenate([p["U"], p["Uc"]])} | {name: p[name] for name in ("W", "b", "bn") if name in p}
        expected, _ = jbptt.unroll(inner, joined, np.concatenate([xs[:, b], fed[None]], axis=-1), of_b)
        if inner is jbptt.gru:
            assert_close(after.h[b], expected.h)
        else:
            h = np.tanh(context(np.asarray(expected.h)) @ p["Wc"] + np.asarray(expected.h) @ p["Ws"])
            assert_close((after.h[b], after.inner.c[b]), (h, expected.c))


CHAIN = chain(jnp.zeros((3, 3))), jnp.zeros(2), jnp.array([0, 1])
BAD = {
    "no memory": (ValueError, r"with_memory", lambda: jbptt.unroll(CELL, PARAMS, jnp.zeros((2, B, 4)))),
    "a memory of no steps": (ValueError, r"S of at least 1", lambda: jbptt.with_memory(PARAMS, jnp.zeros((0, B, H)))),
    "another score": (ValueError, r"score must be one of", lambda: jbptt.luong_cell(jbptt.lstm, score="cosine")),
    "no cell": (TypeError, r"inner must be a jbptt.Cell", lambda: jbptt.bahdanau_cell("lstm")),
    "another number of layers": (
        ValueError,
        r"decoder must have as many layers as encoder, 1, got 2",
        lambda: jbptt.seq2seq_init(KEY, jbptt.Seq2Seq((jbptt.gru,), (jbptt.gru, jbptt.gru)), 3, 3, 4),
    ),
    "both directions, reversed": (
        ValueError,
        r"encoder must have no Bidirectional layer where reverse is True",
        lambda: jbptt.seq2seq_init(KEY, MODELS["bahdanau"]._replace(reverse=True), 3, 3, 4),
    ),
    "layers that are no tuple": (
        TypeError,
        r"encoder must be a list of cells and Bidirectionals, got Cell",
        lambda: jbptt.seq2seq_init(KEY, jbptt.Seq2Seq(jbptt.gru, (jbptt.gru,)), 3, 3, 4),
    ),
    "another memory_size": (
        ValueError,
        r"memory must have the decoder's memory_size, M = 4 features, got 8",
        lambda: jbptt.seq2seq_init(KEY, jbptt.Seq2Seq((BOTH,), (jbptt.bahdanau_cell(jbptt.gru),)), 3, 3, 4),
    ),
    "an unknown token": (
        ValueError,
        r"target must be tokens in 0..4, got 5..9",
        lambda: jbptt.seq2seq(*made("luong"), SOURCE, TARGET + 5),
    ),
    "tokens that are floats": (
        TypeError,
        r"source must be integers",
        lambda: jbptt.seq2seq(*made("luong"), jnp.float32(SOURCE), TARGET),
    ),
    "another batch": (
        ValueError,
        r"target must have source's batch, \[3\], got \[2\]",
        lambda: jbptt.seq2seq(*made("luong"), SOURCE, TARGET[:, :2]),
    ),
    "no beam": (
        ValueError,
        r"width",
        lambda: jbptt.beam_search(chain(jnp.zeros((3, 3))), jnp.zeros(2), jnp.array([0, 1]), end=1, steps=3, width=0),
    ),
    **{
        f"{name} of {value}": (
            TypeError if isinstance(value, str) else ValueError,
            name,
            partial(jbptt.sampled, *CHAIN, KEY, end=1, steps=3, **{name: value}),
        )
        for name, values in {
            "temperature": (0, -1.0, np.inf, np.nan, "hot"),
            "top_k": (0, -3),
            "top_p": (0.0, 1.5, np.nan, "most"),
        }.items()
        for value in values
    },
    "a length penalty of nan": (
        ValueError,
        r"length_penalty must be finite",
        partial(jbptt.beam_search, *CHAIN, end=1, steps=3, width=2, length_penalty=np.nan),
    ),
    "an end that is no integer": (
        TypeError,
        r"end must be an integer",
        partial(jbptt.greedy, *CHAIN, end=1.0, steps=3),
    ),
    "a start that is no token": (
        TypeError,
        r"start must be integers",
        lambda: jbptt.greedy(chain(jnp.zeros((3, 3))), jnp.zeros(2), jnp.zeros(2), end=1, steps=3),
    ),
    "source lengths beyond it": (
        ValueError,
        r"source_lengths must be in 1..T = 1..6, got",
        lambda: jbptt.seq2seq(*made("luong"), SOURCE, TARGET, source_lengths=SOURCE_LENGTHS + 1),
    ),
}
CELL = jbptt.bahdanau_cell(jbptt.gru)
PARAMS = CELL.init(KEY, 4, H, jnp.float64)


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    error, message, call = BAD[name]
    with pytest.raises(error, match=message):
        call()
