"""train chars takes a UTF-8 byte order mark for a character of the text (train pairs leaves it out): it enters the
vocabulary, is the default prime of the sample, and is written in samples; of several files, each brings one.

Expected: a vocabulary without U+FEFF, as train pairs has it.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

jbptt = str(pathlib.Path(sys.executable).with_name("jbptt"))
here = pathlib.Path(tempfile.mkdtemp())
(here / "text.txt").write_text("the cat sat on the mat " * 60, encoding="utf-8-sig")
(here / "pairs.tsv").write_text("".join(f"{n}\t{7 * n % 50}\n" for n in range(50)), encoding="utf-8-sig")
small = ["--steps", "2", "--hidden", "4", "--batch", "2"]
for command in (["chars", "text.txt", "--length", "8", "--out", "c"], ["pairs", "--pairs", "pairs.tsv", "--out", "p"]):
    done = subprocess.run([jbptt, "train", *command, *small], cwd=here, capture_output=True, text=True)
    print(command[0], done.returncode, done.stdout.strip().splitlines()[-1][-60:].encode("unicode_escape").decode())
vocabulary = json.loads((here / "c/config.json").read_text())["vocabulary"]
print("chars:", ascii(vocabulary), "pairs:", ascii(json.loads((here / "p/config.json").read_text())["source_tokens"]))
sys.exit("\ufeff" in vocabulary)
