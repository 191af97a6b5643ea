"""Builds the C++ kernels when the package is built, if there is a compiler; without one the package is the same, less
they. One library for each instruction set of the machine's architecture: which one to take is chosen when it is loaded.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path(__file__).parent / "jbptt" / "backends" / "cpu"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-Wno-psabi",
    "-fPIC",
    "-fvisibility=hidden",
    "-shared",
]
X86 = {
    "avx512": ["-mavx512f", "-mavx512dq", "-mfma", "-mprefer-vector-width=512", "-DJBPTT_LANES=16", "-DJBPTT_PANEL=4"],
    "avx2": ["-mavx2", "-mfma", "-DJBPTT_LANES=8", "-DJBPTT_PANEL=2"],
    "portable": ["-DJBPTT_LANES=4", "-DJBPTT_PANEL=2"],
}
ARM = {"portable": ["-DJBPTT_LANES=4", "-DJBPTT_PANEL=4"]}  # NEON, which all have


class Kernels(BuildHookInterface):
    def initialize(self, version, build_data):
        built = SOURCES / "built"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        try:
            build(built)
        except (OSError, RuntimeError) as error:
            words = " ".join(str(error).split())
            (built / "failed.txt").write_text(f"it was not built: {words[:500]}")
            self.app.display_warning(f"jbptt without its C++ kernels: {words}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def build(folder: Path) -> None:
    """Compiles the libraries into `folder`. Raises OSError or RuntimeError where that fails."""
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("c++") or shutil.which("g++") or "clang++"]
    jaxlib = find_spec("jaxlib")
    if jaxlib is None:
        raise RuntimeError("there is no jaxlib whose headers it could be built with")
    headers = Path(jaxlib.origin).parent / "include"
    sets = X86 if platform.machine().lower() in ("x86_64", "amd64") else ARM
    if not headers.is_dir():
        raise RuntimeError(f"jaxlib has no headers in {headers}")

    sources = [str(SOURCES / "native.cc"), str(SOURCES / "kernels.cc")]

    def compiled(name, finished):
        command = [*compiler, *FLAGS, *sets[name], "-isystem", str(headers), *sources, "-o", str(finished)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not finished.exists():
            raise RuntimeError(f"the C++ compiler {compiler[0]} failed: {done.stderr or done.returncode}")
        return finished

    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        libraries = list(pool.map(lambda name: compiled(name, Path(temporary) / f"{name}.so"), sets))
        for library in libraries:  # all or none
            shutil.move(library, folder / library.name)
