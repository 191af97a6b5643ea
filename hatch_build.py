"""Builds the C++ kernels when the package is built, if there is a compiler; without one the package is the same, less
they. One library for each instruction set of the machine's architecture: which one to take is chosen when it is loaded.
They are loaded by ctypes and know nothing of Python's C interface, so that the wheel is for every Python of a platform.
"""

import os
import platform
import runpy
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
FOLDER = ROOT / "jbptt" / "backends" / "cpu"
SOURCES = SimpleNamespace(**runpy.run_path(str(FOLDER / "sources.py")))  # not as a module of jbptt, which needs jax
MANYLINUX = SimpleNamespace(**runpy.run_path(str(ROOT / "manylinux.py")))


class Kernels(BuildHookInterface):
    def initialize(self, version, build_data):
        built = FOLDER / "built"
        try:
            if not is_fresh(built):
                shutil.rmtree(built, ignore_errors=True)
                built.mkdir()
                build(built)
        except (OSError, RuntimeError, metadata.PackageNotFoundError) as error:
            words = " ".join(str(error).split())
            shutil.rmtree(built, ignore_errors=True)  # what is of other sources is no use to anybody
            built.mkdir()
            (built / "failed.txt").write_text(f"it was not built: {words[:500]}")
            self.app.display_warning(f"jbptt without its C++ kernels: {words}")
            return  # the tag is "any" then
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{MANYLINUX.platform_tag(built.glob('*.so'))}"


def is_fresh(folder: Path) -> bool:
    """Whether the libraries are there, made of the same: then they need not be built again."""
    told = folder / "made_of.txt"
    libraries = [folder / f"{name}.so" for name in instruction_sets()]
    return told.exists() and told.read_text() == made_of() and all(library.exists() for library in libraries)


def made_of() -> str:
    """All that the libraries depend on: the sources, JAX's headers, the compiler and the machine."""
    parts = [SOURCES.sources_digest(), metadata.version("jaxlib"), *compiler(), platform.machine()]
    return "\n".join(parts) + "\n"


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "")) or [shutil.which("c++") or shutil.which("g++") or "clang++"]


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Of this machine's architecture, and their flags."""
    return SOURCES.X86 if platform.machine().lower() in ("x86_64", "amd64") else SOURCES.ARM


def build(folder: Path) -> None:
    """Compiles the libraries into `folder`, and writes what they are made of last. Raises OSError or RuntimeError where
    that fails."""
    headers = Path(metadata.distribution("jaxlib").locate_file("jaxlib")) / "include"
    if not headers.is_dir():
        raise RuntimeError(f"jaxlib has no headers in {headers}")
    digest = f'-DJBPTT_SOURCES_DIGEST="{SOURCES.sources_digest()}"'
    sets, called = instruction_sets(), compiler()

    def run(*arguments):
        done = subprocess.run([*called, *SOURCES.FLAGS, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode or not Path(arguments[-1]).exists():
            raise RuntimeError(f"the C++ compiler {called[0]} failed: {done.stderr or done.returncode}")
        return Path(arguments[-1])

    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        at = Path(temporary)
        kernels = {
            name: pool.submit(run, *sets[name], "-c", FOLDER / "kernels.cc", "-o", at / f"{name}.o") for name in sets
        }
        # What JAX calls is the same for every instruction set, and no hot code.
        native = pool.submit(run, digest, "-isystem", headers, "-c", FOLDER / "native.cc", "-o", at / "native.o")
        objects = {name: (compiled.result(), native.result()) for name, compiled in kernels.items()}
        libraries = [run("-shared", *objects[name], "-o", at / f"{name}.so") for name in sets]
        for library in libraries:  # all or none
            shutil.move(library, folder / library.name)
    (folder / "made_of.txt").write_text(made_of())
