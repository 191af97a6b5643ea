"""A run's folder whose name holds two dollar signs: the title of loss.png is parsed as mathematics, so that after all of
the training the command ends in a traceback, without loss.png and without its results; `plot loss` too.

Expected: exit status 0 and loss.png.
"""

import pathlib
import subprocess
import sys
import tempfile

jbptt = str(pathlib.Path(sys.executable).with_name("jbptt"))
here = pathlib.Path(tempfile.mkdtemp())
(here / "text.txt").write_text("the cat sat on the mat and the dog ran to the red hut " * 60)
train = [jbptt, "train", "chars", "text.txt", "--steps", "2", "--hidden", "4", "--batch", "2", "--length", "8"]
bad = 0
for name in ("plain", "cost_$1_vs_$2", "a$x^$"):
    done = subprocess.run([*train, "--out", name], cwd=here, capture_output=True, text=True)
    there = (here / name / "loss.png").exists()
    bad += done.returncode != 0 or not there
    print(f"{name!r}: status {done.returncode}, loss.png {there}, {done.stderr.strip().splitlines()[-1:]}")
sys.exit(bool(bad))
