"""What is published: the source distribution builds, its wheel has what it should, where it is said to run it runs."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import jbptt
from jbptt.backends.cpu.library import BUILT, loaded

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MANYLINUX = runpy.run_path(str(ROOT / "manylinux.py"))


def test_what_is_installed_is_what_is_tested():
    installed = [file for file in metadata.files("jbptt") or [] if file.as_posix() == "jbptt/__init__.py"]
    if not installed:
        pytest.skip("an editable installation")
    assert Path(jbptt.__file__).samefile(installed[0].locate())


def test_what_is_cited_is_this_version():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()


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


needs_libraries = pytest.mark.skipif(isinstance(loaded(), str), reason=f"no kernels: {loaded()}")


@needs_libraries
@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")
def test_names_are_those_that_the_linker_wrote():
    library = BUILT / "portable.so"
    told = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    names = [[part.decode() for part in parts] for parts in MANYLINUX["NAMED"].findall(library.read_bytes())]
    versions = re.findall(r"^ +0x\w+ 0x\w+ \d+ (\S+)$", told, re.MULTILINE)
    assert {f"{name}_{version}" for name, version, _ in names if name} == set(versions)
    assert {other for _, _, other in names if other} == set(re.findall(r"NEEDED +(\S+)", told))


def build(target, source, to, **environment):
    """The one file that it makes; without a word to a registry, as the extra `test` has what it needs."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", to]
    done = subprocess.run(command, cwd=source, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = to.iterdir()
    return built


@pytest.fixture
def source(tmp_path):
    """The unpacked source distribution."""
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"jbptt-{VERSION}"


def tags(wheel):
    """Those in its name, and those that it tells itself."""
    with zipfile.ZipFile(wheel) as archive:
        told = archive.read(f"jbptt-{VERSION}.dist-info/WHEEL").decode()
    return wheel.stem.removeprefix(f"jbptt-{VERSION}-"), re.findall(r"^Tag: (\S+)", told, re.MULTILINE)


USED = """
import jax, jax.numpy as jnp, jbptt
print(jbptt.__file__)
print(jbptt.backends()["cpu"])
params = jbptt.lstm.init(jax.random.key(0), 3, 4)
cost = lambda params: jnp.sum(jbptt.unroll(jbptt.lstm, params, jnp.ones((5, 2, 3)), backend="cpu")[1])
print(sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(jax.jit(jax.grad(cost))(params))))
"""


@pytest.mark.full
@needs_libraries
def test_wheel_has_the_kernels_and_is_used_where_nothing_else_is(source, tmp_path):
    packaged = source / BUILT.relative_to(Path(jbptt.__file__).parents[1])
    assert not packaged.exists(), "a source distribution has no libraries"
    shutil.copytree(BUILT, packaged)  # the same sources: they are taken for fresh, or built again
    wheel = build("wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"jbptt", "jbptt_command.py", f"jbptt-{VERSION}.dist-info"}
    built = packaged.relative_to(source).as_posix()
    libraries = {f"{built}/{path.name}" for path in packaged.glob("*.so")}
    assert libraries == {name for name in names if name.endswith(".so")} and f"{built}/portable.so" in libraries
    assert {"jbptt/py.typed", "jbptt/backends/cpu/kernels.cc", "jbptt/backends/cpu/plan.h"} <= {*names}

    in_name, told = tags(wheel)
    assert [in_name] == told == [f"py3-none-{MANYLINUX['platform_tag'](packaged.glob('*.so'))}"]

    at = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", at, wheel]
    subprocess.run(pip, check=True, capture_output=True)

    def run(*command):
        environment = os.environ | {"PYTHONPATH": str(at)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    file, status, size = run(sys.executable, "-c", USED)
    assert Path(file) == at / "jbptt" / "__init__.py"
    assert status.startswith("BackendStatus(available=True")
    assert float(size) > 0
    assert "lstm" in "".join(run(sys.executable, at / "bin" / "jbptt", "cells"))


@pytest.mark.full
def test_where_nothing_is_compiled_it_is_for_any_machine(source, tmp_path):
    wheel = build("wheel", source, tmp_path / "wheel", CXX="false")
    assert tags(wheel) == ("py3-none-any", ["py3-none-any"])
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
        assert archive.read("jbptt/backends/cpu/built/failed.txt").startswith(b"it was not built: the C++ compiler")
