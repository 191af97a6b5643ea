"""metrics.csv: one row a report, rewritten whole and atomically with each."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jbptt.app.errors import UserError
from jbptt.interop.writing import write_atomically

UNITS = {"nats": {"nats": 1.0, "bits": math.log(2)}, "squared_error": {"squared_error": 1.0}}
"""What a loss may be, and the units it is written in: their names, and what the loss is divided by."""


def columns(figures: Sequence[str] = ("nats",)) -> tuple[str, ...]:
    """The columns of a task whose validations give these figures, the first of them its loss."""
    loss, *others = figures
    of_losses = [f"{of}_{unit}" for of in ("train", "validation") for unit in UNITS[loss]]
    return ("step", *of_losses, *(f"validation_{name}" for name in others), "learning_rate", "items_per_second")


def in_units(of: str, loss: str, value: float | None) -> dict[str, float | None]:
    """A loss `of` "train" or "validation" in all of its units, by their columns."""
    return {f"{of}_{unit}": None if value is None else value / one for unit, one in UNITS[loss].items()}


def shown(name: str, value: float) -> str:
    """A figure, or a loss in one of its units, as text."""
    return f"{value:.1%}" if name in ("accuracy", "exact") else f"{value:.{3 if name == 'bits' else 4}f}"


def write_rows(run: Path, rows: list[dict[str, Any]], names: Sequence[str] = columns()) -> None:
    """Writes metrics.csv of a run, with these columns; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(run / "metrics.csv", text.getvalue())


def read_rows(run: Path, names: Sequence[str] = columns()) -> list[dict[str, Any]]:
    """The rows of metrics.csv of a run, these columns of them; none if there is no such file. Raises UserError if it is
    damaged."""
    path = run / "metrics.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: _number(name, row[name]) for name in names} for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a metrics file that train wrote: {error}") from None


def _number(name, field):
    if field == "":
        return None
    return int(field) if name in ("step", "items_per_second") else float(field)
