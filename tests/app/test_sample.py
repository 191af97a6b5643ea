"""`jbptt sample` goes on from a prime, the same for the same seed."""

import csv
import json
import shutil

import jax.numpy as jnp
import pytest

from jbptt.app import program
from jbptt.app.checkpoints import Checkpoints

from .conftest import LEARNS, TEXT


@pytest.fixture(scope="package")
def trained(tmp_path_factory, as_a_user_has_it):
    folder = tmp_path_factory.mktemp("learned")
    (folder / "text.txt").write_text(TEXT)
    assert program.main(["train", "chars", str(folder / "text.txt"), *LEARNS, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return "run"


def test_greedy_sample_continues_the_text(jbptt, run):
    status, out, _ = jbptt("sample", run, "--prime", "abcabdab", "--temperature", 0, "--length", 12)
    assert (status, out) == (0, "abcabdab" + "e\nabcabdabe\n" + "\n")


def test_seed_decides(jbptt, run):
    one, again, other = (
        jbptt("sample", run, "--prime", "a", "--temperature", 3, "--seed", seed)[1] for seed in (1, 1, 2)
    )
    assert one == again != other


def test_json_and_a_single_checkpoint(jbptt, run):
    status, out, _ = jbptt("sample", "run/checkpoints/300", "--prime", "a", "--length", 7, "--json")
    result = json.loads(out)
    assert status == 0
    assert result["checkpoint"].endswith("/run/checkpoints/300")
    assert result["prime"] == "a" and len(result["text"]) == 7


def test_run_folder_with_a_number_for_a_name(jbptt, run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "7")
    monkeypatch.chdir(tmp_path)
    assert jbptt("sample", "7", "--prime", "a", "--length", 3)[0] == 0


def test_of_the_likeliest_alone(jbptt, run):
    """However hot."""
    cold = jbptt("sample", run, "--prime", "abcabdab", "--temperature", 0, "--length", 12)
    for options in (("--top-k", 1), ("--top-p", 1e-6)):
        assert jbptt("sample", run, "--prime", "abcabdab", "--temperature", 9, "--length", 12, *options) == cold


def test_the_best_checkpoint(jbptt, run, fails):
    """The one with the least validation loss: in metrics.csv, too."""
    with open(f"{run}/metrics.csv") as file:
        losses = {row["step"]: float(row["validation_nats"]) for row in csv.DictReader(file) if row["validation_nats"]}
    best = json.loads(jbptt("sample", run, "--prime", "a", "--best", "--json")[1])["checkpoint"]
    assert best == f"{run}/checkpoints/{min(losses, key=losses.get)}"
    assert "--best is one of a run's" in fails("sample", f"{run}/checkpoints/300", "--prime", "a", "--best")


def test_the_newest_two_checkpoints_are_kept_and_the_best(tmp_path):
    losses = {1: 3.0, 2: 1.0, 3: None, 4: 2.0, 5: None, 6: 1.5}
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() is None
        for step, loss in losses.items():
            checkpoints.save(step, {"w": jnp.full(2, float(step))}, loss)
        assert (checkpoints.latest_step(), checkpoints.best_step()) == (6, 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "5", "6"]
    with Checkpoints(tmp_path) as checkpoints:  # and it is known when they are opened again
        assert checkpoints.best_step() == 2
        assert checkpoints.restore(2, {"w": jnp.zeros(2)})["w"].tolist() == [2, 2]


def test_length_one(jbptt, run):
    assert len(jbptt("sample", run, "--prime", "ab", "--length", 1)[1]) == len("abx\n")
