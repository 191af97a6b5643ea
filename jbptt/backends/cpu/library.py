"""The library of C++ kernels: whether there is one for this machine, and which instruction set it takes."""

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax

from jbptt.backends.cpu.sources import INSTRUCTION_SETS, sources_digest

BUILT = Path(__file__).parent / "built"
"""Where installing puts the libraries, one for each instruction set, and the compiler's words where that failed."""

STALE = "it was built from other sources: install jbptt again with pip"


class Library(NamedTuple):
    """The kernels of one instruction set.

    - `instruction_set`: its name.
    - `lanes`: the floats in a vector.
    """

    instruction_set: str
    lanes: int

    def target(self, direction: str) -> str:
        """The name that JAX knows the kernel of a direction, "forward" or "backward", by."""
        return f"jbptt_{direction}_{self.instruction_set}"


@cache
def loaded(instruction_set: str | None = None) -> Library | str:
    """The kernels of an instruction set, the best of this machine for None; or why there are none."""
    portable = BUILT / "portable.so"
    if not portable.exists():
        failed = BUILT / "failed.txt"
        return failed.read_text().strip() if failed.exists() else "it was not built: install jbptt with pip"
    try:
        if not _is_fresh(_opened(portable)):
            return STALE
        built_for = _opened(portable).jbptt_ffi_version()
        if built_for > ffi_version():  # registering it would leave JAX without its CPU
            return f"it was built for a newer JAX (interface 0.{built_for}, not 0.{ffi_version()}): install jbptt again"
        best = _text(_opened(portable).jbptt_instruction_set)
        wanted = instruction_set or best
        if INSTRUCTION_SETS.index(wanted) < INSTRUCTION_SETS.index(best):
            return f"this machine has no {wanted}"
        library = _opened(BUILT / f"{wanted}.so")
        if not _is_fresh(library):
            return STALE
        named = Library(wanted, library.jbptt_lanes())
        for direction in ("forward", "backward"):
            handler = jax.ffi.pycapsule(getattr(library, f"jbptt_{direction}"))
            jax.ffi.register_ffi_target(named.target(direction), handler, platform="cpu")
    except Exception as error:  # what a library of another machine, or another JAX, may say
        return f"it cannot be loaded: {error}"
    return named


def ffi_version() -> int:
    """The minor version of XLA's interface for foreign functions, as the installed jaxlib's header tells it."""
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    found = re.search(r"define XLA_FFI_API_MINOR (\d+)", header.read_text())
    return int(found[1]) if found else 0


@cache
def _opened(path):
    return ctypes.CDLL(str(path))


def _is_fresh(library):
    """Whether it was built from the sources beside this file; the libraries before there were digests have none."""
    return hasattr(library, "jbptt_sources_digest") and _text(library.jbptt_sources_digest) == sources_digest()


def _text(function):
    function.restype = ctypes.c_char_p
    return function().decode()


class Backend(NamedTuple):
    """- `available`: whether `unroll(..., backend=)` takes it here.
    - `detail`: what it runs on, or why it is missing.
    """

    available: bool
    detail: str


def backends() -> dict[str, Backend]:
    """What can run a recurrence: "xla", always, and "native", C++ kernels for the CPU where they are built."""
    library = loaded()
    native = Backend(False, library) if isinstance(library, str) else Backend(True, f"cpu, {library.instruction_set}")
    return {"xla": Backend(True, jax.default_backend()), "native": native}
