"""The platform tag of a wheel with compiled libraries: manylinux_2_X where they ask for no more than that promises.

manylinux_2_X (PEP 600): runs wherever there is glibc 2.X or newer. A library names the versions of the symbols that it
takes from the system's libraries, "GLIBC_2.32" say, and so tells the oldest system that it can be loaded on.
"""

import os
import platform
import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path

EVERYWHERE = re.compile(r"lib(stdc\+\+|c|m)\.so\.6|libgcc_s\.so\.1|lib(pthread|dl|rt)\.so\.[0-2]|ld-linux.*")
"""The system's libraries that PEP 600's policies allow, of those that C++ may need."""

NEWEST = {
    17: {"GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7), "GCC": (4, 8, 0)},
    24: {"GLIBCXX": (3, 4, 22), "CXXABI": (1, 3, 10), "GCC": (4, 8, 0)},
    27: {"GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)},
    31: {"GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12), "GCC": (7, 0, 0)},
    34: {"GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (7, 0, 0)},
    35: {"GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0)},
    39: {"GLIBCXX": (3, 4, 33), "CXXABI": (1, 3, 15), "GCC": (14, 0, 0)},
}
"""By X, the newest versions that the compiler's own libraries have on every system with glibc 2.X: the policies of
auditwheel in November 2026, those at which something changes."""

NAMED = re.compile(rb"(?<=\0)(?:(GLIBC|GLIBCXX|CXXABI|GCC)_([^\0]+)|((?:lib|ld-linux)[^\0/]*\.so[^\0/]*))(?=\0)")


def platform_tag(libraries: Iterable[Path]) -> str:
    """manylinux_2_X_x86_64, say; or the plain linux_x86_64, which promises nothing of other machines: where no policy
    is met, or only one that this machine does not meet itself, whose own installer would turn the wheel down."""
    plain = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    needed = needed_glibc(libraries)
    if not plain.startswith("linux_") or needed is None or needed > own_glibc():
        return plain
    return f"manylinux_2_{needed}_{platform.machine()}"


def needed_glibc(libraries: Iterable[Path]) -> int | None:
    """X of the oldest glibc 2.X with which all of them can be loaded; None where no policy says so."""
    symbols, others = set(), set()
    for library in libraries:
        for name, version, other in NAMED.findall(library.read_bytes()):
            symbols |= {(name.decode(), version.decode())} if name else set()
            others |= {other.decode()} if other else set()
    if not all(map(EVERYWHERE.fullmatch, others)) or not all(re.fullmatch(r"[\d.]+", v) for _, v in symbols):
        return None
    asked = [(name, tuple(map(int, version.split(".")))) for name, version in symbols]
    glibc = max((version[1] for name, version in asked if name == "GLIBC"), default=0)
    of_compiler = [(name, version) for name, version in asked if name != "GLIBC"]
    fits = [x for x, newest in NEWEST.items() if all(version <= newest[name] for name, version in of_compiler)]
    return max(glibc, min(fits)) if fits else None


def own_glibc() -> int:
    """X of this machine's glibc 2.X; -1 where its C library is another."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):  # Windows, musl
        return -1
    return int(version.split(".")[1]) if name == "glibc" else -1
