"""How the program ends where the machine or what called it lacks something: in one line, as for any other error."""

import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jbptt.app.json_lines import json_line
from jbptt.app.terminal import shown

TRAIN = "train chars text.txt --steps 2 --hidden 4 --batch 2 --length 8 --out run"


def ended(shell, **environment):
    """(exit status, lines on standard error) of a line of shell, in which $jbptt is the program."""
    environment = os.environ | {"jbptt": f"{sys.executable} -m jbptt.app"} | environment
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("shell", "environment", "says"),
    [
        (f"$jbptt {TRAIN} >&-", {}, "standard output is closed"),
        (f"$jbptt {TRAIN}", {"JAX_PLATFORMS": "cuda"}, "JAX has no device with JAX_PLATFORMS=cuda"),
        (f"$jbptt {TRAIN}$'\\xff'", {}, "has a name that is not UTF-8"),
        ("cp -r runs $'\\xff'; $jbptt sample $'\\xff'", {}, "has a name that is not UTF-8"),
        (f"ulimit -v 20000000; $jbptt {TRAIN} --hidden 400000", {}, "there is not the memory for this"),
    ],
    ids=["closed", "platform", "folder", "moved", "memory"],
)
def test_one_line(text, here, shell, environment, says):
    (here / "runs").mkdir()
    status, lines = ended(shell, **environment)
    assert status == 2
    (line,) = lines
    assert line.startswith("jbptt: ") and says in line


def test_standard_error_closed(here):
    """What is said there is lost, and does not go to standard output."""
    command = ["bash", "-c", '"$@" 2>&-', "bash", sys.executable, "-m", "jbptt.app", "sample", "nowhere"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_pictures_need_no_window(text, here):
    assert ended(f"$jbptt {TRAIN}", MPLBACKEND="of.none") == (0, [])
    assert (here / "run/loss.png").exists()


INTERRUPTED = """
import os, signal, sys
class Interrupts:
    @staticmethod
    def find_spec(name, *of):
        if name == "jax":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts)
from jbptt_command import main
main()
"""


def test_interrupted_while_it_starts(here):
    """In the second in which JAX is imported."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "jbptt: stopped\n")


def test_json_is_strict():
    line = json_line({"a": math.nan, "b": [1.0, -math.inf], "c": {"d": (math.inf, "é")}, "e": None})
    assert json.loads(line) == {"a": None, "b": [1.0, None], "c": {"d": [None, "é"]}, "e": None}


def test_a_terminal_is_not_given_control_characters(monkeypatch):
    text = "a\x1b[2J\x9b\x7f\tb\n"
    assert shown(text) == text
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    assert shown(text) == "a␛[2J�␡\tb\n"
