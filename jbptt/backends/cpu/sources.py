"""What the libraries are built from: sources and flags, and their digest, which tells whether a library is stale.

Needs the standard library alone, as the build loads it by its path, where there is no jax.
"""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent

FLAGS = (
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-Wno-psabi",
    "-fPIC",
    "-fvisibility=hidden",
)
X86 = {
    "avx512": (
        *("-mavx512f", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"),
        "-DJBPTT_TUNING=tuned::avx512",
    ),
    "avx2": ("-mavx2", "-mfma", "-DJBPTT_TUNING=tuned::avx2"),
    "portable": ("-DJBPTT_TUNING=tuned::sse",),
}
ARM = {"portable": ("-DJBPTT_TUNING=tuned::neon",)}  # NEON, which all have

INSTRUCTION_SETS = tuple(X86)
"""From the best on; the last is every machine's."""


def sources_digest(folder: Path = FOLDER) -> str:
    """A digest of all C++ in `folder`, and of the flags: sixteen hexadecimal digits."""
    digest = hashlib.sha256(repr((FLAGS, X86, ARM)).encode())
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".h", ".cc")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
