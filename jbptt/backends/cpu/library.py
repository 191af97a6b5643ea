"""The library of C++ kernels: whether there is one for this machine, and what is in it.

A call of one of its two FFI targets runs recurrences at once. Its attributes: `kinds`, names in `Library.kinds` with
spaces between them; `reverse`, a bit for each, the first the lowest; and `chained`: the xs of each but the first are
the hs of the one before it. Several are of one sequence each; what is below is given, and comes, for each of them, one
after the other. An array with no entries, of nothing, stands for an argument that there is not and for a result that
nobody asks for ("?" below). What has no dtype below is float32 or bfloat16, all of a call the same, as its U is.
`scratch` is memory for the call's own use: as a result it is XLA's to allocate, and in its figures.

    forward    xs? [T, B, I], or indices? [T, B] int32 of one-hot rows, U [I, G·H], W [H, G·H], b? [G·H],
               p? [3·H] or [H], h0 [B, H], c0? [B, H], marks? [T, B] uint8 (1 valid, 2 reset, 4 cut), h_reset? [B, H],
               c_reset? [B, H], h_mask? [B, H],
               h_stays? and c_stays? [T, B, H] uint8, stay_rates? [2] float32 of both where there are no flags
               -> hs [T, B, H], h_last [B, H], c_last? [B, H], saved? [T, B, S·Hp], cs? [T, B, Hp],
               scratch [any] float32
    backward   forward's arguments, hs, saved, cs?, dhs?, dh_last?, dc_last? (cotangents of nothing are 0)
               -> dxs?, dU?, dW?, db?, dp? (float32, these four), dh0?, dc0?, dh_reset?, dc_reset?,
               δ [T, B, S·Hp] in the place of saved, scratch [any] float32

T time, B batch, I inputs, H units, Hp: H up to whole vectors, G gates, S vectors saved. What is of c is where the kind
has it.
"""

import ctypes
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax

from jbptt.backends.cpu.sources import INSTRUCTION_SETS, sources_digest

BUILT = Path(__file__).parent / "built"
"""Where installing puts the libraries, one for each instruction set, and the compiler's words where that failed."""

STALE = "it was built from other sources: install jbptt again with pip"


class Kind(NamedTuple):
    """A cell that there is a kernel for.

    - `gates`: G, its blocks of U, W and b.
    - `saved`: S, the vectors of units that a step saves, whose place δ takes.
    - `has_c`: whether its state has c.
    - `extra`: the parameters p: "peepholes" of i, f and o [3·H], "bn" [H], or "" for none.
    - `at_x`, `at_h`: for each gate, the column of S that is its δ at x U, and at h W.
    """

    gates: int
    saved: int
    has_c: bool
    extra: str
    at_x: tuple[int, ...]
    at_h: tuple[int, ...]


@dataclass(frozen=True)
class Library:
    """The kernels of one instruction set.

    - `instruction_set`: its name.
    - `lanes`: the floats in a vector.
    - `second_cache`: bytes of a core's, as the system tells; a mebibyte where it does not.
    - `kinds`: the cells that it has, by name.
    """

    instruction_set: str
    lanes: int
    second_cache: int
    kinds: dict[str, Kind] = field(compare=False, repr=False)

    def target(self, direction: str) -> str:
        """The name that JAX knows the kernel of a direction, "forward" or "backward", by."""
        return f"jbptt_{direction}_{self.instruction_set}"

    def scratch(
        self,
        kind: str,
        direction: str,
        T: int,
        B: int,
        I: int,
        H: int,
        of_weights: bool = True,
        of_xs: bool = True,
        of_bfloat16: bool = False,
    ) -> int:
        """How many entries a call's `scratch` has: for all of the machine's threads; with fewer, fewer are used.

        - `I`: the features of xs; 0 where there are indices.
        - `of_weights`, `of_xs`: whether a backward's dU and dW, and its dxs, are wanted.
        - `of_bfloat16`: whether the call's arrays are.
        """
        floats = (ctypes.c_size_t * 3)()
        backward, rows = direction == "backward", ctypes.c_int64(T * B)
        functions = _opened(BUILT / f"{self.instruction_set}.so")
        functions.jbptt_scratch(kind.encode(), backward, rows, I, H, of_weights, of_xs, of_bfloat16, floats)
        fixed, per_thread, per_row = floats
        return fixed + _threads() * per_thread + B * per_row


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
        named = Library(wanted, library.jbptt_lanes(), library.jbptt_second_cache(), _kinds(library))
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


def _kinds(library):
    told = json.loads(_text(library.jbptt_kinds))
    return {
        name: Kind(**kind | {"at_x": tuple(kind["at_x"]), "at_h": tuple(kind["at_h"])}) for name, kind in told.items()
    }


def _text(function):
    function.restype = ctypes.c_char_p
    return function().decode()


def _threads():
    """Those of XLA's pool, unless it was told otherwise."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
