"""Ctrl-C between two reports saves weights that are no numbers, says "checkpoint saved ... go on with", and the resumed
run then says that this checkpoint "is from before" the loss became no number. `sample` writes text with such weights.

Expected: no checkpoint of weights that are NaN (or a word about it), and no advice to go on from one.
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
options = [
    "--steps",
    "1000000",
    "--hidden",
    "8",
    "--batch",
    "4",
    "--length",
    "16",
    "--learning-rate",
    "2e38",
    "--clip",
    "1e30",
    "--out",
    "run",
]
with open(here / "log.txt", "w") as log:
    run = subprocess.Popen([jbptt, "train", "chars", "text.txt", *options], cwd=here, stdout=log, stderr=log)
    while "distinct" not in (here / "log.txt").read_text():
        time.sleep(0.1)
    time.sleep(20)  # long enough for the second step, from which on the weights are no numbers, on a busy machine too
    run.send_signal(signal.SIGINT)
    run.wait()
print((here / "log.txt").read_text().splitlines()[-1])
for command in (["sample", "run", "--prime", "t", "--length", "5"], ["train", "chars", "--resume", "--out", "run"]):
    done = subprocess.run([jbptt, *command], cwd=here, capture_output=True, text=True)
    print(command[0], done.returncode, repr((done.stdout + done.stderr).splitlines()[-1]))
sys.exit("is from before" in done.stderr)
