"""A run that was interrupted, however rudely, goes on to the numbers of one that was not."""

import json
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jbptt.app import program, training
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.metrics import read_rows
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.settings import Settings

from .conftest import SMALL, TEXT

STEPS = 40


def options(text):
    return ["train", "chars", "--text", text, *SMALL, "--batch", "40", "--steps", str(STEPS)]


def losses(run):
    return [{k: v for k, v in row.items() if k != "items_per_second"} for row in read_rows(run)]


def final_carry(run):
    settings = Settings(hidden=8, length=5, batch=40, steps=STEPS)
    vocabulary = json.loads((run / "config.json").read_text())["vocabulary"]
    return Checkpoints(run).restore(STEPS, model.init(settings, len(vocabulary)))


def assert_same_run(one, other):
    assert losses(one) == losses(other)
    for a, b in zip(*(jax.tree.leaves(final_carry(run)) for run in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="package")
def uninterrupted(tmp_path_factory, as_a_user_has_it):
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "text.txt").write_text(TEXT)
    assert program.main([*options(str(folder / "text.txt")), "--out", str(folder / "whole")]) == 0
    return folder / "whole"


@pytest.fixture
def whole(uninterrupted, here, text):
    """An uninterrupted run, as `whole` in the current folder."""
    config = json.loads((uninterrupted / "config.json").read_text())
    config["texts"] = [text]
    shutil.copytree(uninterrupted, here / "whole")
    (here / "whole/config.json").write_text(json.dumps(config))
    return here / "whole"


@pytest.mark.parametrize("step", [3, 20, 33])  # the epoch ends at step 26, where the state is reset
def test_resumed_run_equals_uninterrupted_bit_by_bit(jbptt, text, here, whole, monkeypatch, interrupt_after, step):
    interrupt_after(model, "chunk_of", step)
    status, out, _ = jbptt(*options(text), "--out", "part")
    assert status == 130
    assert f"interrupted at step {step}" in out and "--resume --out part" in out
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert Checkpoints(here / "part").latest_step() == step
    assert jbptt("train", "chars", "--resume", "--out", "part")[0] == 0
    assert_same_run(here / "part", whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_or_hung_up_it_leaves_a_checkpoint(jbptt, text, here, interrupt_after, number):
    interrupt_after(model, "chunk_of", 3, number)
    assert jbptt(*options(text), "--out", "part")[0] == 130
    assert Checkpoints(here / "part").latest_step() == 3


def test_a_hangup_that_was_to_be_ignored_is():
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with training._signals() as caught:
            signal.raise_signal(signal.SIGHUP)
        assert caught == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_no_checkpoint_of_what_is_no_number(fails, text, here, interrupt_after):
    interrupt_after(model, "chunk_of", 5)
    wild = ["--learning-rate", "2e38", "--clip", "1e30", "--out", "part"]
    assert "is no number: start again with a smaller --learning-rate" in fails(*options(text), *wild)
    assert Checkpoints(here / "part").latest_step() is None


def start(text, steps):
    command = [sys.executable, "-m", "jbptt.app", *options(text)[:-1], str(steps), "--out", "process", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_run_resumes_from_its_last_checkpoint(jbptt, text, here, whole):
    with start(text, STEPS) as process:
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= STEPS // 2:
                break
        process.kill()
    assert Checkpoints(here / "process").latest_step() < STEPS
    assert jbptt("train", "chars", "--resume", "--out", "process")[0] == 0
    assert_same_run(here / "process", whole)


@pytest.mark.parametrize(
    ("every", "steps"), [("3", [3, 6, 8, 11, 14, 16]), ("1e-9m", list(range(1, 17))), ("60m", [8, 16])]
)
def test_checkpoints_are_saved_as_often_as_asked_for(jbptt, text, monkeypatch, every, steps):
    """And at every validation, at 8 and 16 here."""
    saved, save = [], Checkpoints.save

    def saving(self, step, *of):
        saved.append(step)
        save(self, step, *of)

    monkeypatch.setattr(Checkpoints, "save", saving)
    often = ["--validations", "2", "--checkpoint-every", every]
    assert jbptt(*options(text)[:-1], 16, "--out", "often", *often)[0] == 0
    assert saved == steps
    del saved[:]
    assert jbptt("train", "chars", "--resume", "--out", "often", "--steps", 20)[0] == 0
    assert saved[0] == {"3": 19, "1e-9m": 17, "60m": 20}[every], "as often as before"


@pytest.mark.parametrize("every", ["0", "-1", "2.5", "nan", "0m", "infm", "soon"])
def test_checkpoint_every_nothing(fails, text, every):
    assert "--checkpoint-every" in fails(*options(text), "--checkpoint-every", every)


def test_second_signal_does_what_it_always_did():
    with training._signals() as caught:
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_signal_in_a_callback_stops_too(monkeypatch):
    """Python ignores what a finaliser raises: without more, the signal would be lost."""

    class Finalised:
        def __del__(self):
            raise KeyboardInterrupt

    stops = []
    monkeypatch.setattr(training, "stop_at_once", lambda: stops.append(None))
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    with training._signals():
        Finalised()
    assert len(stops) == 1


def test_second_signal_stops_at_once(text, here):
    with start(text, 1_000_000) as process:
        for _ in range(2):  # the start, and the first step
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error


def test_metrics_past_the_checkpoint_are_dropped(jbptt, text, here, whole):
    rows = read_rows(whole)
    (here / "whole/checkpoints" / str(STEPS)).rename(here / "elsewhere")
    assert jbptt("train", "chars", "--resume", "--out", "whole")[0] == 0
    assert [row["step"] for row in read_rows(whole)] == [row["step"] for row in rows]


def test_steps_may_grow(jbptt, text, here, whole):
    assert jbptt("train", "chars", "--resume", "--out", "whole", "--steps", STEPS + 5)[0] == 0
    assert read_rows(whole)[-1]["step"] == STEPS + 5


def test_resume_without_out_takes_the_newest_run(jbptt, text, here):
    for _ in range(2):
        jbptt(*options(text)[:-1], 2)
    status, out, _ = jbptt("train", "chars", "--resume", "--steps", 3)
    assert status == 0
    assert out.startswith("runs/chars-2:")
