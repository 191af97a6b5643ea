"""`jbptt compare`: manual against auto, a line for every row of the library's table."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jbptt.app.errors import UserError
from jbptt.comparison.pair import compare, costs
from jbptt.comparison.rows import ROWS, Row, Sizes

TOLERANCE = 1e-12
"""The largest relative error that a hand-derived gradient may have in float64."""


def chosen_rows(names: tuple[str, ...]) -> list[Row]:
    """The rows of these names, all if there are none. Raises UserError for an unknown name."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise UserError(f"--row {name!r} is unknown: choose from {', '.join(known)}")
    return [known[name] for name in names] or list(ROWS)


def measure(rows: list[Row], sizes: Sizes, dtype: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Compares each row, and yields its figures as one flat dict. Raises UserError for sizes that a row cannot have."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    T, B, I, H, O = sizes
    if 8 * max(T * B * (I + 20 * H + O), 8 * H * (I + H)) > memory:  # in float64, with what steps save
        raise UserError(f"--sizes {T},{B},{I},{H} need more than this machine's {memory / 2**30:.0f} GiB of memory")
    for row in rows:
        try:
            function, args = row.build(0, sizes, jnp.dtype(dtype))
        except ValueError as error:
            raise UserError(f"--sizes {','.join(map(str, sizes[:4]))}: {row.name}: {error}") from None
        manual = partial(function, vjp="manual")
        report = compare(manual, partial(function, vjp="auto"), *args, rounds=rounds)
        scan = None
        if row.backends and "ffi_call" in str(jax.make_jaxpr(manual)(*args)):
            by_kernel, by_scan = costs(manual, partial(manual, backend="xla"), args, rounds)
            scan = by_scan.ms / by_kernel.ms
        yield {
            "row": row.name,
            "error": report.max_error,
            "manual_ms": report.manual.ms,
            "auto_ms": report.auto.ms,
            "speedup": report.speedup,
            "scan_over_kernel": scan,
            "manual_bytes": report.manual.temp_bytes,
            "auto_bytes": report.auto.temp_bytes,
            "manual_compile_s": report.manual.compile_s,
            "auto_compile_s": report.auto.compile_s,
        }


HEADINGS = (
    "row",
    "error",
    "manual, ms",
    "auto, ms",
    "auto / manual",
    "scan / kernel",
    "manual, MiB",
    "auto, MiB",
    "manual, compile s",
    "auto, compile s",
)
WIDTHS = (30, *map(len, HEADINGS[1:]))


def texts(figures: dict[str, Any]) -> list[str]:
    """One row's figures as the texts under HEADINGS."""
    return [
        figures["row"],
        f"{figures['error']:.0e}",
        f"{figures['manual_ms']:.2f}",
        f"{figures['auto_ms']:.2f}",
        f"{figures['speedup']:.2f}x",
        f"{figures['scan_over_kernel']:.2f}x" if figures["scan_over_kernel"] else "",
        f"{figures['manual_bytes'] / 2**20:.2f}",
        f"{figures['auto_bytes'] / 2**20:.2f}",
        f"{figures['manual_compile_s']:.2f}",
        f"{figures['auto_compile_s']:.2f}",
    ]
