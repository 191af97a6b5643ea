"""`jbptt export` and `jbptt import`: a run as one file, and a run of it again."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jbptt as library
from jbptt.app import program

from .conftest import SMALL, TEXT

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, as_a_user_has_it):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    options = [*SMALL, "--layers", "2", "--steps", "20", "--validations", "2", "--dtype", "bfloat16"]
    assert program.main(["train", "chars", str(folder / "text.txt"), *options, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def run(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return trained / "run"


@pytest.fixture
def exported(jbptt, run):
    assert jbptt("export", run, "model.safetensors") == (0, "model.safetensors\n", "")
    return "model.safetensors"


def test_an_imported_run_writes_the_same(jbptt, run, exported):
    assert jbptt("import", exported, "--out", "again") == (0, "again\n", "")
    samples = [jbptt("sample", folder, "--prime", "abc", "--length", 50) for folder in (run, "again")]
    assert samples[0] == samples[1] and samples[0][0] == 0


def test_the_file_is_for_the_library_too(exported):
    params, about = library.load(exported)
    assert about["layers"] == [library.lstm] * 2
    assert (about["step"], about["run"]["task"]) == (20, "chars")
    characters = np.array([about["run"]["vocabulary"].index(character) for character in "abc"], np.int32)
    _, hs = library.stack(about["layers"], params["layers"], characters)
    assert hs.shape == (3, 8) and hs.dtype == "bfloat16"


def test_training_goes_on_with_the_text(jbptt, fails, trained, exported):
    assert str(trained).encode() not in Path(exported).read_bytes()
    jbptt("import", exported, "--out", "again")
    resume = ["--resume", "--out", "again", "--steps", 30, "--json"]
    assert "--text is not what again was trained on" in fails("train", "chars", *resume)
    status, out, _ = jbptt("train", "chars", trained / "text.txt", *resume)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and lines[0]["step"] == 20


def test_float64(jbptt, exported):
    params, about = library.load(exported)
    about["run"]["settings"]["dtype"] = "float64"
    with jax.enable_x64(True):
        library.save("float64.safetensors", jax.tree.map(lambda leaf: leaf.astype("float64"), params), about)
    assert jbptt("import", "float64.safetensors", "--out", "again") == (0, "again\n", "")
    status, out, _ = jbptt("sample", "again", "--prime", "abc", "--length", 3)
    assert status == 0 and len(out) == 7


def test_a_checkpoint_and_the_next_free_folder(jbptt, run):
    assert jbptt("export", run / "checkpoints" / "10", "ten.safetensors")[0] == 0
    assert library.load("ten.safetensors")[1]["step"] == 10
    assert jbptt("import", "ten.safetensors")[1] == "runs/chars-1\n"
    assert jbptt("export", run, "best.safetensors", "--best")[0] == 0


def test_export_refuses(fails, run):
    assert "nowhere/model.safetensors cannot be written" in fails("export", run, "nowhere/model.safetensors")
    assert "is not the folder of a run" in fails("export", "nowhere", "model.safetensors")
    assert "has no checkpoint 7" in fails("export", run / "checkpoints" / "7", "model.safetensors")


def test_import_refuses(fails, exported, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / exported).read_bytes()[:-1])
    assert "cut.safetensors is no whole safetensors file" in fails("import", "cut.safetensors", "--out", "a")
    assert "none.safetensors cannot be read or written" in fails("import", "none.safetensors", "--out", "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "--out full is not empty" in fails("import", exported, "--out", "full")
    params, about = library.load(exported)
    for wrong, message in (
        (None, "holds no run of train chars"),
        (about | {"step": -1}, "step must be from 0 to 2147483647, got -1"),
        (about | {"step": True}, "step must be an integer, got True"),
        (about | {"run": about["run"] | {"task": "dates"}}, "holds no run of train chars"),
        (about | {"run": about["run"] | {"vocabulary": 3}}, "look at 'vocabulary'"),
        (about | {"run": about["run"] | {"vocabulary": "abc"}}, "they are not of the run's settings"),
        (about | {"run": about["run"] | {"settings": {"hidden": "8"}}}, "look at 'hidden'"),
        (about | {"run": about["run"] | {"settings": {"layers": 10**12}}}, "fewer arrays than the run's settings have"),
        (about | {"run": about["run"] | {"settings": {"hidden": 200_000}}}, "they are not of the run's settings"),
    ):
        library.save("wrong.safetensors", params, wrong)
        assert message in fails("import", "wrong.safetensors", "--out", "a")
    assert not (tmp_path / "a").exists()
