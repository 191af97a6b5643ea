"""The README runs: every Python block in it, and every command it names."""

import re
from pathlib import Path

import jax
import pytest
from click.testing import CliRunner

from jbptt.app.cli import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs_as_a_new_user_would_run_it(number, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(BLOCKS[number], "README.md", "exec"), {})
    if number == 0:
        errors = re.findall(r"difference (\S+)", capsys.readouterr().out)
        assert len(errors) == 3
        assert all(float(error) < 1e-5 for error in errors)  # float32


TICKS = re.findall(r'\[✓\]\((\S+) "(\w+)"\)', README)


def test_every_tick_names_a_test():
    assert len(TICKS) == README.count("[✓]") > 0


@pytest.mark.parametrize(("path", "test"), sorted(set(TICKS)))
def test_every_tick_leads_to_its_test(path, test):
    assert f"def {test}(" in (ROOT / path).read_text()


COMMANDS = "train chars|train dates|train pairs|translate|sample|export|import|compare|cells|plot"


@pytest.mark.parametrize("command", sorted(set(re.findall(rf"jbptt ((?:{COMMANDS})[^`#\n]*)", README))))
def test_command_exists_with_its_options(command):
    words = command.split()
    names = words[:2] if words[0] in ("train", "plot") else words[:1]
    shown = CliRunner().invoke(cli, [*names, "--help"])
    assert shown.exit_code == 0
    assert all(option in shown.output for option in re.findall(r"--[a-z-]+", command))
