"""The files that seq2seq tutorials use have three columns, SOURCE, TARGET, ATTRIBUTION, and files by hand have an empty
line here and there: train pairs refuses both, and has no option to take the first two columns.

Expected: the third column ignored (or an option for it), empty lines skipped.
"""

import pathlib
import subprocess
import sys
import tempfile

jbptt = str(pathlib.Path(sys.executable).with_name("jbptt"))
here = pathlib.Path(tempfile.mkdtemp())
lines = [f"{n}\t{7 * n % 50}" for n in range(50)]
(here / "three.tsv").write_text("\n".join(f"{line}\tCC-BY 2.0 #{n}" for n, line in enumerate(lines)))
(here / "blank.tsv").write_text("\n".join([*lines[:9], "", *lines[9:]]))
bad = 0
for name in ("three", "blank"):
    command = [
        jbptt,
        "train",
        "pairs",
        "--pairs",
        f"{name}.tsv",
        "--out",
        name,
        "--steps",
        "1",
        "--hidden",
        "4",
        "--batch",
        "2",
    ]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    bad += done.returncode != 0
    print(name, done.returncode, done.stderr.strip()[-110:])
sys.exit(bool(bad))
