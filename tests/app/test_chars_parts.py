"""The parts of the character model's task, each held to something worked out without it."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jbptt.app.optimising import learning_rate, optimizer_of
from jbptt.app.reporting import BarReporter
from jbptt.app.tasks.chars import corpus, model
from jbptt.app.tasks.chars.settings import Settings

from .conftest import SMALL

SETTINGS = Settings(hidden=8, length=5, batch=2, steps=10)
STREAM = np.random.default_rng(0).integers(0, 7, (31, 2)).astype(np.int32)
CARRY = model.init(SETTINGS, 7)


def test_bigram_entropy_by_hand():
    text = corpus.make_corpus("aab" * 1000, shortest=2)
    # After b comes a. After a comes a or b, evenly; two characters in three are an a.
    assert corpus.bigram_entropy(text) == pytest.approx(2 / 3 * math.log(2), rel=1e-3)


def test_byte_order_marks_are_left_out(tmp_path):
    """Of every file."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name, encoding="utf-8-sig")
    assert corpus.read_texts([tmp_path / "a", tmp_path / "b"]) == "ab"


def test_combining_characters_are_composed_if_asked_for(jbptt, here):
    """In the text, and in what is given to a trained model."""
    (here / "text.txt").write_text("e\u0301a" * 400)
    small = ["train", "chars", "text.txt", *SMALL, "--steps", 1]
    for option, vocabulary in (("--nfc", "a\u00e9"), ("--no-nfc", "ae\u0301")):
        assert jbptt(*small, option, "--out", option[2:])[0] == 0
        assert json.loads((here / option[2:] / "config.json").read_text())["vocabulary"] == vocabulary
    assert jbptt("sample", "nfc", "--prime", "e\u0301")[0] == 0
    assert jbptt("sample", "no-nfc", "--prime", "\u00e9")[0] == 2


def test_splits_are_the_text_in_order():
    letters = "".join(chr(ord("a") + n % 17) for n in range(1000))
    text = corpus.make_corpus(letters, shortest=2)
    assert text.vocabulary == "".join(sorted(set(letters)))
    back = ["".join(text.vocabulary[i] for i in split) for split in text[1:]]
    assert [len(split) for split in back] == [900, 50, 50]
    assert "".join(back) == letters


def test_chunks_run_through_the_streams_and_begin_again():
    chunks = [model.chunk_of(step, STREAM, 5) for step in range(7)]
    assert [chunk.first for chunk in chunks] == [True, False, False, False, False, False, True]
    np.testing.assert_array_equal(np.concatenate([chunk.inputs for chunk in chunks[:6]]), STREAM[:30])
    np.testing.assert_array_equal(np.concatenate([chunk.targets for chunk in chunks[:6]]), STREAM[1:])


def test_state_is_carried_within_an_epoch_and_reset_at_its_beginning():
    carry = CARRY._replace(states=jax.tree.map(jnp.ones_like, CARRY.states))
    after = {first: model.train_step(SETTINGS, carry, model.Chunk(STREAM[:5], STREAM[1:6], first)) for first in (0, 1)}
    from_ones, _ = model.logits(SETTINGS, carry.params, carry.states, STREAM[:5])
    from_zeros, _ = model.logits(SETTINGS, carry.params, CARRY.states, STREAM[:5])
    np.testing.assert_allclose(after[0].states[0].h, from_ones[0].h, rtol=1e-6)
    np.testing.assert_allclose(after[1].states[0].h, from_zeros[0].h, rtol=1e-6)


def test_evaluation_in_chunks_is_one_run_over_the_whole():
    _, z = model.logits(SETTINGS, CARRY.params, CARRY.states, STREAM[:30])
    log_y = jax.nn.log_softmax(z)
    whole = -np.mean([log_y[t, b, STREAM[t + 1, b]] for t in range(30) for b in range(2)])
    assert float(model.evaluate(SETTINGS, CARRY.params, jnp.asarray(STREAM))) == pytest.approx(whole, rel=1e-5)


def test_learning_rate_falls_to_a_hundredth():
    rate = learning_rate(SETTINGS)
    assert float(rate(0)) == pytest.approx(SETTINGS.learning_rate)
    assert float(rate(SETTINGS.steps)) == pytest.approx(SETTINGS.learning_rate / 100)
    assert float(learning_rate(SETTINGS._replace(schedule="constant"))(9)) == SETTINGS.learning_rate


def test_gradient_is_clipped_by_its_global_norm():
    optimizer = optimizer_of(SETTINGS._replace(clip=0.5))
    clipped, _ = optimizer.update(jnp.full(4, 100.0), optimizer.init(jnp.zeros(4)))
    first_moment = (1 - 0.9) * 0.25  # of adam, whose update is the ratio of its moments; 0.5 over four equal entries
    moments = optimizer.update(jnp.full(4, 100.0), optimizer.init(jnp.zeros(4)))[1]
    assert float(moments[1][0].mu[0]) == pytest.approx(first_moment)
    assert clipped.shape == (4,)


def test_bar_shows_loss_speed_and_time_left(monkeypatch):
    console = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr("jbptt.app.reporting.Console", lambda **options: console)
    row = {"step": 5, "train_nats": 1.0, "train_bits": 1.443, "validation_nats": 0.5, "validation_bits": 0.721}
    with BarReporter() as bar:
        bar.say("start", "hello")
        bar.step(10, "characters", row | {"items_per_second": 12345})
    shown = console.export_text()
    assert all(
        part in shown for part in ("hello", "loss 1.443 bits", "12,345 characters/s", "5/10", "validation 0.5000")
    )
