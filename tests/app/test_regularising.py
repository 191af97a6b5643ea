"""What training draws, and when it ends before its steps do."""

import json

import jax
import numpy as np
import pytest

from jbptt.app import regularising, training
from jbptt.app.every import Every
from jbptt.app.metrics import read_rows
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.settings import Settings

from .conftest import LEARNS, SMALL

PLAIN = Settings(hidden=8, layers=2, length=5, batch=3)
STREAM = np.random.default_rng(0).integers(0, 4, (31, 3))
RATES = [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"zoneout": 0.5}]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_each_step_draws_anew_and_the_same_each_time(rate):
    settings = PLAIN._replace(**rate)
    carry = model.init(settings, 4)
    chunk = model.chunk_of(0, STREAM, 5)

    def loss(settings, number):
        return float(model.train_step(settings, carry, chunk._replace(number=number)).losses.value())

    assert loss(settings, 3) == loss(settings, 3)
    assert len({loss(settings, number) for number in range(4)}) == 4
    assert loss(PLAIN, 0) == loss(PLAIN, 1)


def test_evaluation_draws_nothing_and_takes_zoneouts_mean():
    params = model.init(PLAIN, 4).params
    plain = model.evaluate(PLAIN, params, STREAM)
    for rate in RATES[:2]:
        assert model.evaluate(PLAIN._replace(**rate), params, STREAM) == plain
    assert model.evaluate(PLAIN._replace(**RATES[2]), params, STREAM) != plain


def test_dropout_of_one_layer_is_before_the_output():
    """A character's logits are then those of about half of the units."""
    settings = PLAIN._replace(layers=1, dropout=0.5)
    carry = model.init(settings, 4)
    key = regularising.key_of_step(settings, 0)
    _, dropped = model.logits(settings, carry.params, carry.states, STREAM[:5], key)
    _, whole = model.logits(settings, carry.params, carry.states, STREAM[:5])
    assert np.all(np.any(dropped != whole, axis=-1))


def test_a_cell_without_recurrent_dropout(fails, text):
    error = fails("train", "chars", "--text", text, *SMALL, "--cell", "lstm_depth_gated", "--recurrent-dropout", "0.1")
    assert "--recurrent-dropout must be 0 for --cell lstm_depth_gated" in error


@pytest.mark.parametrize("option", ["--dropout", "--recurrent-dropout", "--zoneout"])
def test_a_rate_that_is_no_number(fails, text, option):
    assert option in fails("train", "chars", "--text", text, *SMALL, option, "nan")


@pytest.mark.parametrize(
    ("losses", "patience", "ends"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2], 1, True),
        ([3, 1, 2, 2], 3, False),
        ([3, 1, 2, 2, 1.5], 3, True),
        ([3, 1, 2, 2, 0.5], 3, False),
        ([1], 1, False),
        ([1, 2, 3], 0, False),
    ],
    ids=str,
)
def test_patience(losses, patience, ends):
    task = training.Task(9, None, None, None, "", 1, 1, 1, Every(), patience)
    rows = [{"validation_nats": loss} for loss in losses for loss in (None, loss)]
    assert training._is_out_of_patience(task, rows) == ends


def test_training_that_ends_early_takes_the_best_weights(jbptt, text, here):
    """With a learning rate far too high soon no validation is better."""
    status, out, _ = jbptt(
        *("train", "chars", "--text", text, *LEARNS, "--learning-rate", "3", "--schedule", "constant"),
        *("--validations", "60", "--patience", "2", "--out", "run", "--json"),
    )
    events = [json.loads(line) for line in out.splitlines()]
    (stopped,) = [event for event in events if event["event"] == "stopped"]
    validations = {row["step"]: row["validation_nats"] for row in read_rows(here / "run") if row["validation_nats"]}
    assert status == 0
    assert stopped["step"] == max(validations) < 300
    assert stopped["best"] == min(validations, key=validations.get)
    assert events[-1]["validation_nats"] == pytest.approx(validations[stopped["best"]], rel=1e-5)


def test_a_run_out_of_patience_goes_on_only_if_given_more(jbptt, text, here):
    options = ("--learning-rate", "3", "--schedule", "constant", "--validations", "60", "--patience", "2")
    jbptt("train", "chars", "--text", text, *LEARNS, *options, "--out", "run")
    before = (here / "run/metrics.csv").read_text()
    status, out, _ = jbptt("train", "chars", "--resume", "--out", "run")
    assert (status, "no validation was better" in out) == (0, True)
    assert (here / "run/metrics.csv").read_text() == before
    assert jbptt("train", "chars", "--resume", "--out", "run", "--patience", "0")[0] == 0
    assert read_rows(here / "run")[-1]["step"] == 300


def test_keys_of_steps_are_none_where_nothing_is_drawn():
    assert regularising.key_of_step(PLAIN, 3) is None
    one, other = (jax.random.key_data(regularising.key_of_step(PLAIN._replace(dropout=0.1), n)) for n in (3, 4))
    assert np.any(one != other)
    of_parameters = jax.random.key_data(jax.random.split(jax.random.key(PLAIN.seed), 8))
    tag = jax.random.fold_in(jax.random.key(PLAIN.seed), regularising.NOT_OF_PARAMETERS)
    assert not np.any(np.all(of_parameters == jax.random.key_data(tag), axis=-1))
