"""What a figure is worth nothing without: device, cores, versions, date."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]


def facts() -> dict[str, str | int]:
    """The columns that all rows of a run share, but for the date."""
    return {
        "device": device(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "jbptt": f"{version('jbptt')} {commit()}".strip(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def version(package: str) -> str:
    """The installed distribution's; the source tree's, for a library that is run from it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "source" if package == "jbptt" else ""


def device() -> str:
    """The GPU's name and driver, or the processor's model and vector width."""
    if jax.default_backend() == "gpu":
        return f"{jax.devices()[0].device_kind}, driver {_output('nvidia-smi', *_DRIVER)}"
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", platform.processor() or platform.machine())
    flags = fields.get("flags", "").split()
    vectors = next((flag for flag in ("avx512f", "avx2", "avx") if flag in flags), "")
    return f"{name} {vectors}".strip()


_DRIVER = ("--query-gpu=driver_version", "--format=csv,noheader")


def commit() -> str:
    """The source tree's commit, and "+" if the library differs from it."""
    head = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    return head + ("+" if _output("git", "-C", str(ROOT), "status", "--porcelain", "jbptt") else "")


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
