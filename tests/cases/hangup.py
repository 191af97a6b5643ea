"""SIGHUP, what a closed terminal or a lost ssh connection sends, ends a run at once without a checkpoint (SIGINT and
SIGTERM save one); and checkpoints come only with the five validations of a run, whatever its length, so that a long run
loses up to a fifth of itself, and one of fewer steps than that everything.

Expected: a checkpoint at SIGHUP too, or an option for how often (steps or minutes) they are written.
"""

import pathlib
import signal
import subprocess
import sys
import tempfile
import time

jbptt = str(pathlib.Path(sys.executable).with_name("jbptt"))
here = pathlib.Path(tempfile.mkdtemp())
(here / "text.txt").write_text("the cat sat on the mat and the dog ran to the red hut " * 200)
left = {}
for number in (signal.SIGTERM, signal.SIGHUP):
    name = number.name
    options = f"--steps 1000000 --hidden 8 --batch 4 --length 16 --out {name}".split()
    with open(here / f"{name}.txt", "w") as log:
        run = subprocess.Popen([jbptt, "train", "chars", "text.txt", *options], cwd=here, stdout=log, stderr=log)
        while "distinct" not in (here / f"{name}.txt").read_text():
            time.sleep(0.1)
        time.sleep(2.5)
        run.send_signal(number)
        run.wait()
    left[name] = [path.name for path in (here / name / "checkpoints").iterdir()]
    print(f"{name}: status {run.returncode}, checkpoints {left[name]}")
sys.exit(not left["SIGHUP"])
