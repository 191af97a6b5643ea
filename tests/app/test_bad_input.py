"""What a user can get wrong: one line, exit status 2, nothing on disk lost."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from jbptt.app import program

from .conftest import SMALL, TEXT


@pytest.fixture(scope="package")
def trained(tmp_path_factory, as_a_user_has_it):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    options = ["--text", str(folder / "text.txt"), *SMALL, "--steps", "2", "--out", str(folder / "run")]
    assert program.main(["train", "chars", *options]) == 0
    return folder


@pytest.fixture
def run(trained, here):
    """A run to spoil, as `run` in the current folder."""
    shutil.copytree(trained / "run", here / "run")
    return here / "run"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "bad.txt cannot be read: No such file or directory"),
        (b"", "bad.txt is empty"),
        (b"abc\xff\xfe" * 500, "bad.txt is not UTF-8 (byte 3)"),
        (b"short", "--text holds 5 characters, but --batch and --length need about"),
    ],
)
def test_text(fails, here, content, says):
    if content is not None:
        (here / "bad.txt").write_bytes(content)
    assert says in fails("train", "chars", "--text", "bad.txt", *SMALL)
    assert not (here / "runs").exists()


def test_text_that_is_a_folder(fails, here):
    assert "Is a directory" in fails("train", "chars", "--text", ".")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--cell", "transformer"),
        ("--layers", 0),
        ("--hidden", -1),
        ("--length", 0),
        ("--batch", "many"),
        ("--steps", 0),
        ("--learning-rate", 0),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--learning-rate", "1e-308"),
        ("--steps", 10**18),
        ("--layers", 999999999),
        ("--clip", -1),
        ("--dtype", "int8"),
        ("--vjp", "hand"),
        ("--optimizer", "sgd"),
        ("--seed", -1),
        ("--colour", "red"),
    ],
)
def test_options(fails, text, option, value):
    assert option in fails("train", "chars", text, *SMALL, option, value)


def test_out_that_holds_a_run(fails, run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "add --resume" in fails("train", "chars", "--out", "run")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_out_that_holds_something_else(fails, text, here):
    (here / "mine").mkdir()
    (here / "mine/thesis.tex").write_text("important")
    assert "not empty" in fails("train", "chars", text, *SMALL, "--out", "mine")
    assert (here / "mine/thesis.tex").read_text() == "important"


def test_out_that_checkpoints_cannot_be_kept_in(fails, text, here):
    assert "has a backslash in its name" in fails("train", "chars", text, *SMALL, "--out", "a\\b")
    assert not (here / "a\\b").exists()


def test_out_that_is_another_option(fails, text, here):
    assert "--out --resume looks like another option" in fails("train", "chars", text, *SMALL, "--out", "--resume")


def test_a_text_without_an_end(fails, here):
    assert "--text /dev/zero is a device" in fails("train", "chars", "--text", "/dev/zero")


def test_out_that_is_a_file(fails, text):
    assert "cannot be made" in fails("train", "chars", text, *SMALL, "--out", text)


def test_resume_without_a_run(fails, here):
    assert "--resume found no run" in fails("train", "chars", "--resume")
    assert "not the folder of a run" in fails("train", "chars", "--resume", "--out", "nowhere")
    assert not (here / "nowhere").exists()


def test_resume_with_another_setting(fails, run):
    assert "--hidden 16 contradicts" in fails("train", "chars", "--resume", "--out", "run", "--hidden", 16)
    assert "--steps 1 is less" in fails("train", "chars", "--resume", "--out", "run", "--steps", 1)


def test_resume_with_changed_text(fails, run, text):
    config = json.loads((run / "config.json").read_text())
    config["texts"] = [text]
    (run / "config.json").write_text(json.dumps(config))
    with open(text, "a") as file:
        file.write("more")
    assert "not what run was trained on" in fails("train", "chars", "--resume", "--out", "run")


def test_truncated_checkpoint(fails, run):
    for path in run.joinpath("checkpoints").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "damaged" in fails("sample", "run", "--prime", "a")
    assert "damaged" in fails("train", "chars", "--resume", "--out", "run", "--steps", 3)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_checkpoint_of_another_configuration(fails, run):
    config = json.loads((run / "config.json").read_text())
    for change in ({"hidden": 16}, {"dtype": "bfloat16"}, {"layers": 2}):
        (run / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | change}))
        assert "another configuration" in fails("sample", "run", "--prime", "a")


def test_sizes_beyond_memory(fails):
    assert "need more than" in fails("compare", "--sizes", "100000000,100000,1,1", "--row", "mse")


def test_temperature_beyond_float32(fails, run):
    assert "--temperature" in fails("sample", "run", "--prime", "a", "--temperature", "1e300")


@pytest.mark.parametrize(("field", "value"), [("vocabulary", ""), ("texts", [3]), ("text_sha256", None)])
def test_damaged_field(fails, run, field, value):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {field: value}))
    assert field in fails("sample", "run", "--prime", "a")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}}'])
def test_damaged_config(fails, run, content):
    (run / "config.json").write_text(content)
    assert "config.json" in fails("sample", "run", "--prime", "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", "lstm2"),
        ("cell", 3),
        ("hidden", "8"),
        ("hidden", -1),
        ("optimizer", "sgd"),
        ("dtype", "float8"),
        ("learning_rate", float("nan")),
        ("checkpoint_every", "often"),
        ("colour", "red"),
    ],
)
def test_damaged_setting(fails, run, name, value):
    config = json.loads((run / "config.json").read_text())
    config["settings"][name] = value
    (run / "config.json").write_text(json.dumps(config))
    error = fails("sample", "run", "--prime", "a")
    assert "config.json" in error and name in error


def test_damaged_metrics(fails, run):
    for text in ("step,train_nats\nthree,4\n", "step,train_bits\n1,2\n"):
        (run / "metrics.csv").write_text(text)
        assert "metrics.csv" in fails("plot", "loss", "run")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prime", "Ω"], "--prime 'Ω' holds 'Ω'"),
        (["--prime", ""], "--prime must hold"),
        (["--prime", "a", "--temperature", "-1"], "--temperature"),
        (["--prime", "a", "--temperature", "nan"], "--temperature"),
        (["--prime", "a", "--length", "0"], "--length"),
        (["--prime", "a", "--length", "3000000000"], "--length"),
    ],
)
def test_sample(fails, run, arguments, says):
    assert says in fails("sample", "run", *arguments)


def test_sample_without_a_run(fails, here, run):
    assert "not the folder of a run" in fails("sample", "nowhere")
    assert "not the folder of a run" in fails("sample", "nowhere/checkpoints/3")
    assert "no checkpoint 99: there is 1 and 2" in fails("sample", "run/checkpoints/99", "--prime", "a")


@pytest.mark.parametrize("sizes", ["1,2,3", "0,1,1,1", "a,b,c,d", ""])
def test_compare_sizes(fails, sizes):
    assert "--sizes" in fails("compare", "--sizes", sizes)


def test_compare_row(fails):
    assert "--row 'lstn' is unknown" in fails("compare", "--row", "lstn")


def test_command_without_its_subcommand_shows_help(jbptt, here):
    status, _, error = jbptt("train")
    assert status == 2
    assert "chars" in error and "Usage" in error


@pytest.mark.parametrize(("output", "status", "says"), [("/dev/full", 2, "No space left on device"), (None, 1, "")])
def test_output_that_cannot_be_written(here, output, status, says):
    """A full device is told of; a reader that has gone is not."""
    command = [sys.executable, "-m", "jbptt.app", "compare", "--row", "mse", "--rounds", "1", "--sizes", "1,1,1,1"]
    if output is None:
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(output, os.O_WRONLY)
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert result.returncode == status
    assert says in result.stderr and "Traceback" not in result.stderr
