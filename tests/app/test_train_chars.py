"""`jbptt train chars` learns, and leaves what it promises."""

import csv
import json

import jax
import numpy as np
import pytest

from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.settings import Settings
from jbptt.cells.table import CELLS

from .conftest import LEARNS, SMALL


@pytest.fixture
def trained(jbptt, text):
    status, out, _ = jbptt("train", "chars", "--text", text, *LEARNS, "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def test_learns_what_bigrams_cannot(trained):
    end = trained[-1]
    assert end["event"] == "end"
    assert end["validation_bits"] < 0.5 * end["bigram_bits"]
    assert end["test_bits"] < 0.5 * end["bigram_bits"]


def test_leaves_metrics_curve_and_sample(trained, here):
    run = here / "runs" / "chars-1"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [e["step"] for e in trained if e["event"] == "step"]
    assert int(rows[-1]["step"]) == 300
    assert float(rows[-1]["validation_bits"]) == trained[-1]["validation_bits"]
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "sample.txt").read_text() == trained[-1]["sample"]
    assert not list(run.glob(".*"))  # no temporary file


def test_a_second_run_does_not_touch_the_first(jbptt, text, here):
    for _ in range(2):
        assert jbptt("train", "chars", text, *SMALL, "--steps", 2)[0] == 0
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["chars-1", "chars-2"]


@pytest.mark.parametrize("cell", ["clockwork", "lstm_projected", "slstm"])
def test_cells_of_other_states_train(jbptt, text, cell):
    status, out, _ = jbptt("train", "chars", text, *SMALL, "--steps", 3, "--cell", cell, "--layers", 2, "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["validation_nats"] > 0


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_trains(cell):
    """The training step itself: on one chunk, again and again, each cell learns it."""
    settings = Settings(cell=cell, hidden=16, length=10, batch=4, steps=60, learning_rate=0.03, schedule="constant")
    carry = model.init(settings, 5)
    characters = np.arange(11 * 4).reshape(11, 4) * 7 % 5
    chunk = model.Chunk(characters[:-1], characters[1:], True)
    step = jax.jit(model.train_step, static_argnames="settings", compiler_options={"xla_backend_optimization_level": 0})
    losses = []
    for _ in range(settings.steps):
        carry = step(settings, carry._replace(losses=RunningMean.empty()), chunk)
        losses.append(carry.losses.value())
    assert losses[-1] < 0.7 * losses[0], losses


@pytest.mark.parametrize(
    "option", [("--dtype", "bfloat16"), ("--dtype", "float64"), ("--optimizer", "rmsprop"), ("--schedule", "constant")]
)
def test_options_train(jbptt, text, option):
    assert jbptt("train", "chars", text, *SMALL, "--steps", 3, *option)[0] == 0


def test_manual_and_auto_train_alike(jbptt, text):
    losses = []
    for vjp in ("manual", "auto"):
        _, out, _ = jbptt("train", "chars", text, *SMALL, "--steps", 20, "--dtype", "float64", "--vjp", vjp, "--json")
        losses.append([e["train_nats"] for e in map(json.loads, out.splitlines()) if e["event"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # the losses' mean is kept in float32
    assert losses[0][0] != losses[0][-1]


def test_plain_lines_report_nats_bits_and_speed(jbptt, text):
    _, out, _ = jbptt("train", "chars", text, *SMALL, "--steps", 2)
    assert "bigram entropy" in out
    assert "nats" in out and "bits" in out and "characters/s" in out


@pytest.mark.parametrize("name", ["cost_$1_vs_$2", "a$x^$", "{b}_%s"])
def test_a_folder_whose_name_is_no_mathematics(jbptt, text, here, name):
    assert jbptt("train", "chars", text, *SMALL, "--steps", 1, "--out", name)[0] == 0
    assert (here / name / "loss.png").exists()


def test_plot_loss_draws_again(jbptt, text, here):
    jbptt("train", "chars", text, *SMALL, "--steps", 2)
    (here / "runs/chars-1/loss.png").unlink()
    status, out, _ = jbptt("plot", "loss", "runs/chars-1")
    assert (status, out) == (0, "runs/chars-1/loss.png\n")
    assert (here / "runs/chars-1/loss.png").exists()
