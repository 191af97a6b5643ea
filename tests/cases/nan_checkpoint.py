"""Ctrl-C between two reports saves weights that are no numbers, says "checkpoint saved ... go on with", and the resumed
run then says that this checkpoint "is from before" the loss became no number. `sample` writes text with such weights.

Expected: no checkpoint of weights that are NaN (or a word about it), and no advice to go on from one.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time


def processor_seconds(process):
    """What it has taken: unlike the clock's, these do not depend on what else the machine does."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    start = processor_seconds(run)
    while processor_seconds(run) < start + 12:  # by then come the second step, and weights that are no numbers
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    run.wait()
print((here / "log.txt").read_text().splitlines()[-1])
for command in (["sample", "run", "--prime", "t", "--length", "5"], ["train", "chars", "--resume", "--out", "run"]):
    done = subprocess.run([jbptt, *command], cwd=here, capture_output=True, text=True)
    print(command[0], done.returncode, repr((done.stdout + done.stderr).splitlines()[-1]))
sys.exit("is from before" in done.stderr)
