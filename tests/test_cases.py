"""Faults as they were reported, each a script that tells the fault and exits 0 once it is mended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent / "cases").glob("*.py"))
OF_THE_TESTS = {"XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"}
OF_A_USER = {name: value for name, value in os.environ.items() if name not in OF_THE_TESTS}


@pytest.mark.full
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_is_mended(script, tmp_path):
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=OF_A_USER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
