"""Every task on sequences, by its row in the table: it trains, goes on, says its baseline, and refuses bad input."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jbptt.app import training
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.metrics import columns, read_rows
from jbptt.app.settings import text_of
from jbptt.app.tasks.sequences import chorales, model
from jbptt.app.tasks.sequences.settings import settings_of, unused_by
from jbptt.app.tasks.sequences.table import TASKS

STEPS = 6
TINY = {"hidden": 4, "batch": 3, "steps": STEPS, "validations": 2}
OWN = {
    "adding": {"length": 6},
    "copy": {"delay": 2},
    "temporal-order": {"length": 10},
    "reber": {"longest": 14},
    "parity": {"longest": 4, "tested": 6},
    "even-pairs": {"longest": 4, "tested": 6},
    "cycle-navigation": {"longest": 4, "tested": 6},
    "digits": {},
    "mnist1d": {},
    "chorales": {},
}
"""Of every task what makes it small."""

BAD = {
    "adding": {"length": 1},
    "copy": {"delay": 0},
    "temporal-order": {"length": 9},
    "reber": {"shortest": 8},
    "parity": {"longest": 1},
    "even-pairs": {"tested": 40},
    "cycle-navigation": {"tested": 2_000_000_000},
    "digits": {"batch": 0},
    "mnist1d": {"cell": "none"},
    "chorales": {"frames": 0},
}
"""Of every task what cannot be."""

every_task = pytest.mark.parametrize("name", TASKS)


def options(settings):
    return [text for name, value in settings.items() for text in (f"--{name}", str(value))]


def last_checkpoint(run):
    with Checkpoints(run) as checkpoints:
        return checkpoints._manager.restore(STEPS, args=ocp.args.StandardRestore())


def test_the_tables_are_whole():
    assert set(TASKS) == set(OWN) == set(BAD)


@every_task
def test_trains_and_goes_on_bit_by_bit(jbptt, here, monkeypatch, interrupt_after, name):
    task, given = TASKS[name], OWN[name] | TINY
    settings = settings_of(task)(**given)
    status, out, _ = jbptt("train", name, *options(given), "--out", "whole", "--json")
    assert status == 0
    interrupt_after(training, "_row", 3)  # a row a step here
    assert jbptt("train", name, *options(given), "--out", "part")[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert jbptt("train", name, "--resume", "--out", "part")[0] == 0
    start, *_, end = [json.loads(line) for line in out.splitlines()]
    figures = tuple(next(iter(end["sets"].values())))
    rows, others = (read_rows(here / run, columns(figures)) for run in ("whole", "part"))
    assert [row | {"items_per_second": 0} for row in rows] == [row | {"items_per_second": 0} for row in others]
    for a, b in zip(*(jax.tree.leaves(last_checkpoint(here / run)) for run in ("whole", "part")), strict=True):
        np.testing.assert_array_equal(a, b)
    text = (here / "whole/results.md").read_text()
    assert start["baselines"] and all(f"| baseline: {baseline}" in text for baseline in start["baselines"])
    fields = json.loads((here / "whole/results.json").read_text())
    assert fields["baselines"] == start["baselines"] and fields["settings"] == settings._asdict()
    assert (fields["task"], fields["sequences"]) == (name, STEPS * settings.batch)
    assert task.figure in figures
    assert (here / "whole/loss.png").read_bytes().startswith(b"\x89PNG")
    assert jbptt("plot", "loss", "whole")[0] == 0


@every_task
def test_help_names_every_setting(jbptt, name):
    status, out, _ = jbptt("train", name, "--help")
    task = TASKS[name]
    assert status == 0 and task.text in " ".join(out.split())
    for setting in settings_of(task)._fields:
        option = f"--{setting.replace('_', '-')}"
        assert (option in out) == (setting not in unused_by(task))
        assert text_of(settings_of(task), setting)


@every_task
def test_bad_input(fails, here, name):
    (option, value), *_ = BAD[name].items()
    assert f"--{option}" in fails("train", name, f"--{option}", value)
    assert "--hidden" in fails("train", name, "--hidden", 0)
    assert "--resume found no run" in fails("train", name, "--resume")
    assert not (here / "runs").exists()


def test_a_run_with_other_data_does_not_go_on(jbptt, fails, here):
    assert jbptt("train", "adding", *options(OWN["adding"] | TINY), "--out", "run")[0] == 0
    config = json.loads((here / "run/config.json").read_text())
    (here / "run/config.json").write_text(json.dumps(config | {"data_sha256": "0" * 64}))
    assert "begun with other data" in fails("train", "adding", "--resume", "--out", "run")
    (here / "run/config.json").write_text(json.dumps(config | {"curve": {"unit": "yards"}}))
    assert "'curve'" in fails("plot", "loss", "run")


def test_ends_when_solved_and_stays_so(jbptt, here):
    """Whether the first of six symbols is the last is learned in a moment."""
    easy = ["--longest", 2, "--tested", 3, "--hidden", 8, "--batch", 100, "--learning-rate", 0.03, "--out", "run"]
    status, out, _ = jbptt("train", "even-pairs", *easy, "--until-solved", "--json")
    end = json.loads(out.splitlines()[-1])
    assert status == 0
    assert 2000 <= end["solved_after"] <= end["sequences"] < 300_000
    assert end["sequences"] - end["solved_after"] < 100 * training.ASKED_EVERY
    assert json.loads((here / "run/results.json").read_text())["solved_after"] == end["solved_after"]
    status, out, _ = jbptt("train", "even-pairs", "--resume", "--out", "run", "--json")
    assert (status, len(out.splitlines())) == (0, 2)
    assert json.loads(out.splitlines()[-1])["sequences"] == end["sequences"]


def test_progress_counts_right_ones_in_a_row():
    progress = model.Progress(jnp.int32(0), jnp.int32(0))
    counts = []
    for steps, exact in enumerate([[1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]], start=1):
        progress = model._after(progress, jnp.asarray(exact, bool), 7, steps)
        counts.append((int(progress.right), int(progress.solved_after)))
    assert counts == [(3, 0), (1, 0), (4, 0), (7, 4), (0, 4), (3, 4)]


def test_package_that_is_missing(fails, here, monkeypatch):
    """Of the data: as where jbptt is installed without the extra."""
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    monkeypatch.setattr(chorales, "find_spec", lambda name: None)
    chorales.rolls.cache_clear()
    for name in ("mnist1d", "chorales"):
        assert "pip install 'jbptt[tasks]'" in fails("train", name)


def losses(jbptt, *arguments):
    status, out, _ = jbptt("train", *arguments, "--json")
    steps = [event for event in map(json.loads, out.splitlines()) if event["event"] == "step"]
    assert status == 0
    return [event[name] for event in steps for name in event if name.startswith("train_")]


@pytest.mark.full
def test_manual_and_auto_learn_the_same(jbptt, here):
    given = [*options(OWN["copy"] | TINY), "--dtype", "float64"]
    np.testing.assert_allclose(*(losses(jbptt, "copy", *given, "--vjp", vjp) for vjp in ("manual", "auto")), rtol=1e-12)


@pytest.mark.full
@pytest.mark.parametrize("name", ["adding", "reber", "chorales"])
def test_every_option_trains(jbptt, here, name):
    options_of_all = ["--dtype", "bfloat16", "--layers", 2, "--dropout", 0.2, "--recurrent-dropout", 0.2]
    options_of_all += ["--zoneout", 0.1, "--optimizer", "rmsprop", "--patience", 1, "--cell", "gru"]
    assert np.isfinite(losses(jbptt, name, *options(OWN[name] | TINY), *options_of_all)).all()
