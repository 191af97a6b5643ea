"""`jbptt reproduce`: rows run, go on, agree and disagree; and every row of the real table can be run."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jbptt.app import training
from jbptt.app.reproduce import findings, running, table
from jbptt.app.reproduce.row import ACCURACY, SEQUENCES, SQUARED_ERROR, Figure, Measurement, Row, Rule, Training
from jbptt.app.settings import settings_in
from jbptt.app.tasks.sequences import model
from jbptt.app.tasks.sequences.settings import settings_of
from jbptt.app.tasks.sequences.table import TASKS

TINY = {"hidden": 4, "batch": 3, "steps": 6, "validations": 2}
ADDING = TINY | {"length": 6}


def row(name, runs, rule, when="whole"):
    return Row(name, f"{name} is claimed", f"{name}'s source", "small.", runs, rule, when)


MEASURED = Measurement(lambda seed: {"number": seed + 0.5}, {"number": Figure(lambda results: results["number"], "{}")})
TRAINED = row(
    "trained",
    {"lstm": Training("adding", ADDING, {"error": SQUARED_ERROR("0.1"), "after": SEQUENCES("7")})},
    Rule("it is finite", lambda figures: bool(np.isfinite(figures["error"]).all())),
)
WRONG = row(
    "wrong", {"it": MEASURED}, Rule("every number is below 1", lambda figures: figures["number"].max() < 1), "quick"
)
LONG = row("long", {"it": Training("parity", {}, {"": ACCURACY()})}, Rule("never", lambda figures: False), "named")


@pytest.fixture
def made_up(monkeypatch):
    """These rows in the table's place."""
    monkeypatch.setattr(table, "ROWS", (WRONG, TRAINED, LONG))


def csv_rows(out):
    with (out / "results.csv").open(newline="") as file:
        return {(each["row"], each["figure"]): each for each in csv.DictReader(file)}


def test_says_what_agrees(jbptt, here, made_up):
    status, out, _ = jbptt("reproduce", "--seeds", 2, "--out", "out")
    text = (here / "out/results.md").read_text()
    assert status == 0 and text.split("\n\n")[0] in out
    rows = csv_rows(here / "out")
    assert list(rows) == [("wrong", "number"), ("trained", "error"), ("trained", "after")]
    errors = [json.loads((here / f"out/trained/lstm-{seed}/results.json").read_text()) for seed in (0, 1)]
    errors = [each["sets"]["held out"]["squared_error"] for each in errors]
    error = rows["trained", "error"]
    assert errors[0] != errors[1]
    assert (error["published"], error["verdict"], error["seeds"]) == ("0.1", "agrees", "2")
    assert float(error["mean"]) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(error["std"]) == pytest.approx(np.std(errors, ddof=1), rel=1e-4)
    assert rows["trained", "after"]["mean"] == "inf"
    wrong = rows["wrong", "number"]
    assert (wrong["verdict"], wrong["mean"], wrong["least"], wrong["most"]) == ("disagrees", "1", "0.5", "1.5")
    assert "2 of 2 unsolved |" in text and "Agrees if every number is below 1." in text
    assert f"{np.mean(errors):.4f} ± {np.std(errors, ddof=1):.4f}" in text


def test_goes_on_and_does_nothing_twice(jbptt, here, made_up, monkeypatch, interrupt_after):
    command = ["reproduce", "trained", "--seeds", 2, "--out"]
    assert jbptt(*command, "whole")[0] == 0
    interrupt_after(training, "_row", TINY["steps"] + 3)  # a row a step here: the third of the second run
    status, out, _ = jbptt(*command, "part")
    assert status == 130 and "trained, lstm, seed 1: interrupted" in out
    assert (csv_rows(here / "part")["trained", "error"]["verdict"], out.count("seed 0")) == ("", 1)
    status, out, _ = jbptt(*command, "part", "--json")
    *runs, end = map(json.loads, out.splitlines())
    assert [(each["event"], each["run"], each["seed"]) for each in runs] == [("run", "lstm", 1)]
    assert (end["event"], end["row"], end["verdict"]) == ("row", "trained", "agrees")
    assert end["figures"]["error"]["published"] == "0.1" and end["figures"]["after"]["values"] == [None, None]
    (whole, part) = (csv_rows(here / folder) for folder in ("whole", "part"))
    assert [each["most"] for each in whole.values()] == [each["most"] for each in part.values()]
    assert [each["mean"] for each in whole.values()] == [each["mean"] for each in part.values()]
    monkeypatch.setattr(running, "do", None)  # which would not be called
    assert jbptt(*command, "part")[0] == 0


def test_which_rows(jbptt, here, made_up):
    def rows_of(*arguments):
        status, out, _ = jbptt("reproduce", *arguments, "--seeds", 1, "--out", "out", "--json")
        assert status == 0
        return [event["row"] for event in map(json.loads, out.splitlines()) if event["event"] == "row"]

    assert rows_of("--quick") == ["wrong"]
    assert rows_of("trained", "wrong", "trained") == ["trained", "wrong"]
    assert rows_of() == ["wrong", "trained"]  # and not what takes long


def test_bad_input(fails, here, made_up):
    assert "'nothing' is unknown: choose from wrong, trained, long" in fails("reproduce", "wrong", "nothing")
    assert "--quick and ROW" in fails("reproduce", "wrong", "--quick")
    assert "--seeds" in fails("reproduce", "--seeds", 0)
    assert not any(here.iterdir())
    (here / "file").write_text("")
    assert "--out file is no folder" in fails("reproduce", "wrong", "--out", "file")
    assert "file/below cannot be" in fails("reproduce", "wrong", "--out", "file/below")


def test_results_that_are_no_ones_or_of_other_settings(jbptt, fails, here, made_up, monkeypatch):
    assert jbptt("reproduce", "trained", "--seeds", 1, "--out", "out")[0] == 0
    path = here / "out/trained/lstm-0/results.json"
    whole = path.read_text()
    for damaged in ("", "[]", "{}", whole.replace('"seconds"', '"minutes"'), whole.replace('"sets"', '"set"')):
        path.write_text(damaged)
        assert "delete out/trained/lstm-0" in fails("reproduce", "trained", "--seeds", 1, "--out", "out")
    path.write_text(whole)
    longer = TRAINED.runs["lstm"]._replace(given=ADDING | {"length": 7})
    monkeypatch.setattr(table, "ROWS", (TRAINED._replace(runs=TRAINED.runs | {"lstm": longer}),))
    assert "other settings" in fails("reproduce", "trained", "--seeds", 1, "--out", "out")


def test_mean_and_spread_of_what_was_solved():
    figure = SEQUENCES("5")
    assert findings.ours(figure, np.array([1000.0, 3000.0])) == "2,000 ± 1,414"
    assert findings.ours(figure, np.array([1000.0, np.inf, 3000.0])) == "2,000 ± 1,414, 1 of 3 unsolved"
    assert findings.ours(figure, np.array([1000.0])) == "1,000"
    assert findings.ours(figure, np.array([])) == "not run"


NEVER = np.inf
AGREES_AND_NOT = {
    "vanishing-gradients": [
        ([0.8, 0.8], [0.7, 0.7], [0.95, 0.95]),
        ([0.8, 0.91], [0.7, 0.7], [0.95, 0.95]),
        ([0.8, 0.8], [0.7, 0.96], [0.95, 0.95]),
        ([0.8, 0.8], [0.7, 0.7], [0.95, 0.79]),
    ],
    "reber": [([8000, 8880],), ([8000, 8882],), ([5000, NEVER],)],
    "temporal-order": [([31_390],), ([31_391],), ([5000, NEVER],)],
    "adding-100": [([70_000, 78_000],), ([70_000, 79_000],), ([5000, NEVER],)],
    "adding-500": [([209_000],), ([210_000],), ([5000, NEVER],)],
    "adding-lstm-rnn": [([0.01, 0.016], [0.16, 0.17]), ([0.01, 0.017], [0.16, 0.17]), ([0.01, 0.016], [0.14, 0.17])],
    "copy": [([0.2, 0.38], [0.5, 0.55]), ([0.2, 0.4], [0.5, 0.55]), ([0.2, 0.38], [0.46, 0.55])],
    "digits": [([0.96, 0.98], [0.96, 0.97]), ([0.96, 0.97], [0.9, 0.9]), ([0.98, 0.98], [0.98, 0.98])],
    "mnist1d": [([0.9, 0.92], [0.32, 0.32]), ([0.9, 0.91], [0.32, 0.32]), ([0.95, 0.95], [0.35, 0.35])],
    "chorales": [([8.6, 8.8],), ([8.6, 8.9],)],
    **{
        name: [([0.5, 0.99], [1.0, 0.5]), ([0.5, 0.98], [1.0, 1.0]), ([1.0, 1.0], [0.9, 0.9])]
        for name in ("parity", "even-pairs", "cycle-navigation")
    },
}
"""Of every row's figures, in their order: first what agrees, then what does not."""


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.name)
def test_rule(row):
    agrees, *others = AGREES_AND_NOT[row.name]
    for values in (agrees, *others):
        figures = {name: np.array(each, float) for name, each in zip(row.figures(), values, strict=True)}
        assert row.rule.agrees(figures) is (values is agrees)


RUNS = [
    pytest.param(run, id=f"{row.name}-{name}")
    for row in table.ROWS
    for name, run in row.runs.items()
    if isinstance(run, Training)
]


@pytest.mark.parametrize("run", RUNS)
def test_settings_are_such_as_the_command_line_takes(run):
    """And the task and the model can be made of them."""
    task = TASKS[run.task]
    settings = settings_in({"settings": run.given}, settings_of(task), {}, Path())
    if run.task in ("digits", "mnist1d", "chorales"):
        return  # which fit a baseline or read a corpus first, and have no settings here that could be wrong
    assert jax.eval_shape(lambda: model.init(settings, task.problem(settings))).params


def test_the_real_table():
    names = [row.name for row in table.ROWS]
    assert len(set(names)) == len(names)
    for row in table.ROWS:
        assert len(row.figures()) == sum(len(run.figures) for run in row.runs.values())
        assert row.claim and row.source and row.setting.endswith(".") and row.rule.text
        assert any(figure.published for figure in row.figures().values())


def test_gradients_vanish(jbptt, here):
    status, out, _ = jbptt("reproduce", "vanishing-gradients", "--seeds", 1, "--out", "out", "--json")
    assert status == 0 and json.loads(out.splitlines()[-1])["verdict"] == "agrees"
