"""Faults as they were reported, each a script that tells the fault, and once it is mended exits 0 and tells of
no FAIL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent / "cases").glob("*.py"))
OF_A_USER = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
WITHOUT_FLAGS = {name: value for name, value in OF_A_USER.items() if name != "XLA_FLAGS"}


def environment_of(script):
    """A user's; for scripts of the command line with the tests' flags: what they ask is no matter of how programs are
    compiled, and compiling is most of a short training run."""
    return OF_A_USER if 'with_name("jbptt")' in script.read_text() else WITHOUT_FLAGS


@pytest.mark.full
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_is_mended(script, tmp_path):
    environment = environment_of(script)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout + done.stderr
