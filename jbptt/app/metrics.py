"""metrics.csv: one row a report, rewritten whole and atomically with each."""

import csv
import io
from pathlib import Path
from typing import Any

from jbptt.app.errors import UserError
from jbptt.interop.writing import write_atomically

COLUMNS: tuple[str, ...] = (
    "step",
    "train_nats",
    "train_bits",
    "validation_nats",
    "validation_bits",
    "learning_rate",
    "items_per_second",
)


def write_rows(run: Path, rows: list[dict[str, Any]]) -> None:
    """Writes metrics.csv of a run; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(run / "metrics.csv", text.getvalue())


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.csv of a run, none if there is no such file. Raises UserError if it is damaged."""
    path = run / "metrics.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: _number(name, row[name]) for name in COLUMNS} for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a metrics file that train wrote: {error}") from None


def _number(name, field):
    if field == "":
        return None
    return int(field) if name in ("step", "items_per_second") else float(field)
