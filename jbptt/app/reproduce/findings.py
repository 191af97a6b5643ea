"""What the runs of a row came to, beside what was published: as a line of text, CSV, Markdown and JSON.

S seeds.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbptt.app import markdown
from jbptt.app.reproduce.row import Figure, Row
from jbptt.app.reproduce.running import jobs, results_of
from jbptt.interop.writing import write_atomically


class Finding(NamedTuple):
    """Of a row.

    - `values`: of every figure those of the runs that are done, [S] at most.
    - `seeds`: how many there are to be.
    - `seconds`: of training, all runs together.
    """

    row: Row
    values: dict[str, np.ndarray]
    seeds: int
    seconds: float

    def verdict(self) -> str:
        """ "agrees" or "disagrees"; empty while runs are missing."""
        if any(len(of_seeds) < self.seeds for of_seeds in self.values.values()):
            return ""
        return "agrees" if self.row.rule.agrees(self.values) else "disagrees"


def find(row: Row, seeds: int, out: Path) -> Finding:
    """What there is of a row. Raises UserError for a folder that holds something else."""
    values, seconds = {name: [] for name in row.figures()}, 0.0
    for job in jobs([row], seeds, out):
        if (results := results_of(job)) is not None:
            seconds += results["seconds"]
            for name, figure in job.run.figures.items():
                values[name].append(figure.of(results))
    return Finding(row, {name: np.array(of_seeds, float) for name, of_seeds in values.items()}, seeds, seconds)


def write(rows: Sequence[Row], seeds: int, out: Path) -> None:
    """Writes results.csv and results.md of all rows of which there is anything."""
    found = [find(row, seeds, out) for row in rows]
    found = [finding for finding in found if any(len(of_seeds) for of_seeds in finding.values.values())]
    write_atomically(out / "results.csv", csv_of(found))
    write_atomically(out / "results.md", markdown_of(found))


def ours(figure: Figure, values: np.ndarray) -> str:
    """Mean ± standard deviation, of those that are finite, and how many are not."""
    finite = values[np.isfinite(values)]
    text = "" if len(values) else "not run"
    if len(finite):
        text = figure.form.format(finite.mean())
    if len(finite) > 1:
        text += f" ± {figure.form.format(finite.std(ddof=1))}"
    if unsolved := len(values) - len(finite):
        text = ", ".join(part for part in (text, f"{unsolved} of {len(values)} unsolved") if part)
    return text


COLUMNS = ("row", "figure", "published", "mean", "std", "least", "most", "seeds", "row_seconds", "verdict", "source")


def csv_of(found: Sequence[Finding]) -> str:
    """A line a figure; what was not solved is `inf`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in found:
        row = finding.row
        for name, figure in row.figures().items():
            numbers = [f"{number:.6g}" for number in _statistics(finding.values[name])]
            ends = [len(finding.values[name]), f"{finding.seconds:.1f}", finding.verdict(), row.source]
            writer.writerow([row.name, name, figure.published, *(numbers or [""] * 4), *ends])
    return text.getvalue()


def _statistics(values):
    """Mean, standard deviation, least and most; none of none."""
    if not len(values):
        return []
    spread = values.std(ddof=1) if len(values) > 1 and np.isfinite(values).all() else np.nan
    return [values.mean(), spread, values.min(), values.max()]


HEADINGS = ("row", "figure", "published", "ours", "seconds", "verdict")


def markdown_of(found: Sequence[Finding]) -> str:
    """A table, ours beside what was published, and below it of each row the claim, what was run, and the rule."""
    about = [
        f"- `{row.name}`: {row.claim} ({row.source}). Here: {row.setting} Agrees if {row.rule.text}."
        for row, *_ in found
    ]
    return "\n".join([table(found), "", "Ours: mean ± standard deviation of the seeds.", "", *about, ""])


def table(found: Sequence[Finding]) -> str:
    """Ours beside what was published, a line a figure; what is of the row stands in the first."""
    return markdown.table(HEADINGS, [texts for finding in found for texts in _texts(finding)])


def _texts(finding):
    lines = []
    for number, (name, figure) in enumerate(finding.row.figures().items()):
        of_row = [finding.row.name, f"{finding.seconds:.0f}", finding.verdict()] if number == 0 else ["", "", ""]
        lines.append([of_row[0], name, figure.published, ours(figure, finding.values[name]), *of_row[1:]])
    return lines


def json_of(finding: Finding) -> dict[str, Any]:
    """A row as a JSON object's fields; a figure that is not finite is null."""
    row = finding.row
    return {
        "row": row.name,
        "claim": row.claim,
        "source": row.source,
        "setting": row.setting,
        "rule": row.rule.text,
        "figures": {
            name: {"published": figure.published, "values": finding.values[name].tolist()}
            for name, figure in row.figures().items()
        },
        "seconds": finding.seconds,
        "verdict": finding.verdict(),
    }
