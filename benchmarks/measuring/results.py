"""The CSV file: every change replaces the whole file at once. A killed run loses the current point and no more."""

import csv
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]

SAME = ("device", "cores", "jax", "jbptt", "xla_flags")
"""What a resumed run must share with its beginning."""


class Results:
    """The rows of one run, in memory and in `path`."""

    def __init__(self, path: Path, rows: list[Row] | None = None):
        self.path = path
        self.rows = list(rows or [])

    def add(self, rows: list[Row]) -> None:
        """Appends, on disk too before it returns."""
        self.rows += rows
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(f".{os.getpid()}.part")
        with scratch.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows([{key: _text(value) for key, value in row.items()} for row in self.rows])
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)

    def has(self, **values: Any) -> bool:
        """Whether some row has these values."""
        return any(all(str(row.get(key, "")) == str(value) for key, value in values.items()) for row in self.rows)


def read(path: Path) -> list[Row]:
    """Rows, every value as the text that it is there."""
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def start(kind: str, out: Path | None, resume: bool, same: dict[str, Any]) -> Results:
    """The file of a new run, or with `resume` of an earlier one: `out`, or the newest of its kind.

    Raises click.ClickException where `out` exists already, and where the earlier run's `same` columns differ.
    """
    if not resume:
        out = out or RESULTS / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
        if out.exists():
            raise click.ClickException(f"{out} exists: give another --out, or --resume")
        return Results(out)
    earlier = sorted(RESULTS.glob(f"{kind}-*.csv")) if out is None else [out]
    if not earlier or not earlier[-1].exists():
        raise click.ClickException(f"nothing to resume: {out or RESULTS / f'{kind}-*.csv'} does not exist")
    rows = read(earlier[-1])
    for column, value in same.items():
        if rows and rows[-1].get(column, "") != str(value):
            raise click.ClickException(
                f"{earlier[-1]} was measured with {column} = {rows[-1].get(column)!r}, now it is {value!r}: start anew"
            )
    return Results(earlier[-1], rows)


def _text(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value
