"""What is published: the source distribution builds, its wheel has what it should, where it is said to run it runs."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import jbptt
from jbptt.backends.cpu.library import BUILT, loaded
from jbptt.backends.cpu.sources import INSTRUCTION_SETS

ROOT = Path(__file__).parent.parent
MANYLINUX = runpy.run_path(str(ROOT / "manylinux.py"))


def test_what_is_installed_is_what_is_tested():
    installed = [file for file in metadata.files("jbptt") or [] if file.as_posix() == "jbptt/__init__.py"]
    if not installed:
        pytest.skip("an editable installation")
    assert Path(jbptt.__file__).samefile(installed[0].locate())


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (["libc.so.6", "GLIBC_2.2.5", "GLIBC_2.14"], 17),
        (["libc.so.6", "GLIBC_2.9", "GLIBC_2.32"], 32),
        (["libstdc++.so.6", "GLIBC_2.28", "GLIBCXX_3.4.28", "GLIBCXX_3.4.9", "CXXABI_1.3"], 31),
        (["libstdc++.so.6", "GLIBC_2.28", "CXXABI_1.3.13"], 34),
        (["libgcc_s.so.1", "GCC_12.0.0"], 35),
        (["libstdc++.so.6", "GLIBCXX_3.4.99"], None),
        (["libc.so.6", "GLIBC_PRIVATE"], None),
        (["libc++.so.1", "GLIBC_2.14"], None),
    ],
)
def test_needed_glibc(names, needed, tmp_path):
    """Of a library with these names among its strings."""
    (tmp_path / "a.so").write_bytes(b"\0".join([b"\x7fELF", *(name.encode() for name in names), b""]))
    assert MANYLINUX["needed_glibc"]([tmp_path / "a.so"]) == needed


@pytest.mark.skipif(not list(BUILT.glob("*.so")) or shutil.which("objdump") is None, reason="no libraries or objdump")
def test_names_are_those_that_the_linker_wrote():
    found, told = set(), set()
    for library in BUILT.glob("*.so"):
        found |= {name or version for name, version, other in named(library)}
        told |= set(re.findall(r"0x\w+ 0x\w+ \d+ (\S+)", "")) 
    assert found == told
