""" "Every user error is one line on standard error and exit status 2": these end in a traceback and status 1 instead.

Expected: one line each.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

jbptt = str(pathlib.Path(sys.executable).with_name("jbptt"))
here = pathlib.Path(tempfile.mkdtemp())
(here / "text.txt").write_text("the cat sat on the mat and the dog ran to the red hut " * 60)
train = f"{jbptt} train chars text.txt --steps 2 --hidden 4 --batch 2 --length 8 --out"
bad = 0
for name, command, more in (
    ("standard output closed", f"{train} a >&-", {}),
    ("JAX_PLATFORMS of what is not there", f"{train} b", {"JAX_PLATFORMS": "cuda"}),
    ("MPLBACKEND unknown", f"{train} c", {"MPLBACKEND": "foo"}),
    ("a folder that is not UTF-8", f"{train} $'d\\xff'", {}),
    ("more units than memory (under ulimit -v)", f"ulimit -v 20000000; {train} e --hidden 1000000", {}),
):
    done = subprocess.run(["bash", "-c", command], cwd=here, capture_output=True, text=True, env=os.environ | more)
    lines = done.stderr.strip().splitlines()
    bad += len(lines) > 1
    print(f"{name}: status {done.returncode}, {len(lines)} lines, {lines[-1][:90] if lines else ''}")
run = subprocess.Popen([jbptt, "cells"], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
time.sleep(0.35)
run.send_signal(signal.SIGINT)
error = run.communicate()[1].strip().splitlines()
print(f"Ctrl-C while it starts: status {run.returncode}, {len(error)} lines")
sys.exit(bool(bad))
