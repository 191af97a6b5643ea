"""The README runs: every Python block in it, and what it says of the command line."""

import re
from pathlib import Path

import jax
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs_as_a_new_user_would_run_it(block, capsys):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, "README.md", "exec"), {})


def test_first_example_prints_a_match(capsys):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(BLOCKS[0], "README.md", "exec"), {})
    errors = re.findall(r"difference (\S+)", capsys.readouterr().out)
    assert len(errors) == 3
    assert all(float(error) < 1e-5 for error in errors)  # float32
