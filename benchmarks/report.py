"""A Markdown table of a CSV that benchmarks.peers or benchmarks.gpu wrote: everybody's time as a multiple of ours.

python -m benchmarks.report benchmarks/results/peers-....csv > table.md
"""

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np

from benchmarks.contestants.roster import JAX_PEERS, OURS
from benchmarks.measuring import results
from benchmarks.problem import Sizes

MODES = {"gradients": "value and all gradients", "forward": "forward alone"}
BEST = "best JAX peer"
Point = tuple[str, str, Sizes]
"""Precision, cell, sizes."""


@click.command(help=__doc__.split("\n")[0])
@click.argument("path", metavar="CSV", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path):
    click.echo(markdown(results.read(path)))


def markdown(rows: list[results.Row]) -> str:
    """The whole report: one table a mode, geometric means, agreement, compilation, and who is left out and why."""
    if not rows:
        return "No rows."
    sections = [_heading(rows)]
    for mode, title in MODES.items():
        by_point = table([row for row in rows if row["mode"] == mode])
        if by_point:
            sections.append(f"## {title[0].upper()}{title[1:]}\n\n{_ratios(by_point)}")
    return "\n\n".join([*sections, _costs(rows), _remarks(rows)])


def table(rows: Iterable[results.Row]) -> dict[Point, dict[str, results.Row]]:
    """{point: {contestant: row}} of the timed rows."""
    found: dict[Point, dict[str, results.Row]] = {}
    for row in rows:
        if row["status"] == "timed":
            sizes = Sizes(*(int(row[name]) for name in Sizes._fields))
            found.setdefault((row.get("precision", ""), row["cell"], sizes), {})[row["contestant"]] = row
    return found


def ratios(by_contestant: dict[str, results.Row]) -> dict[str, float]:
    """Everybody's time over ours, and the smallest of the JAX peers' under "best JAX peer"; empty without ours."""
    if OURS not in by_contestant:
        return {}
    ours = float(by_contestant[OURS]["ms"])
    found = {name: float(row["ms"]) / ours for name, row in by_contestant.items() if name != OURS}
    peers = [found[name] for name in JAX_PEERS if name in found]
    return found | ({BEST: min(peers)} if peers else {})


def geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


def _heading(rows):
    shared = [
        f"{name} {rows[0][name]}" for name in ("device", "cores", "python", "jax", "jaxlib", "jbptt", "xla_flags")
    ]
    packages = sorted({row["package"] for row in rows if row["package"] and not row["package"].startswith("j")})
    dates = sorted(row["date"] for row in rows)
    loads = [float(row["load"]) for row in rows if row.get("load")]
    lines = [
        f"Measured {dates[0]} to {dates[-1]}; {'; '.join(shared)}; {'; '.join(packages)}.",
        "",
        f"Times as multiples of {OURS}'s in the same run: above 1, ours is the faster. In brackets its quartiles.",
    ]
    if loads:
        lines.append(f"Load average of the machine at the points: {min(loads):.1f} to {max(loads):.1f}.")
    return "\n".join(lines)


def _ratios(by_point):
    names = [
        name for name in dict.fromkeys(n for contestants in by_point.values() for n in contestants) if name != OURS
    ]
    columns = [BEST, *names]
    head = ["cell", "T x B x I x H", f"{OURS}, ms", "of peak", *columns]
    lines = [head, ["---"] * len(head)]
    found: dict[str, dict[str, list[float]]] = {}
    for (precision, cell, sizes), contestants in by_point.items():
        label = cell if precision in ("", "float32") else f"{cell} {precision}"
        multiples = ratios(contestants)
        if not multiples:
            continue
        ours = contestants[OURS]
        ms = f"{float(ours['ms']):.3g} ({float(ours['q1']):.3g}–{float(ours['q3']):.3g})"
        peak = f"{float(ours['fraction_of_peak']):.0%}" if ours.get("fraction_of_peak") else ""
        lines.append([label, str(sizes), ms, peak, *[f"{multiples[c]:.2f}" if c in multiples else "" for c in columns]])
        for name, value in multiples.items():
            found.setdefault(label, {}).setdefault(name, []).append(value)
    found["all"] = {c: [value for values in found.values() for value in values.get(c, [])] for c in columns}
    for label, values in found.items():
        means = [f"**{geometric_mean(values[c]):.2f}**" if values.get(c) else "" for c in columns]
        lines.append([f"**{label}**", "geometric mean", "", "", *means])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _costs(rows):
    """Medians over the points, of compile time, temporary memory against ours, threads busy, share of the peak."""
    lines = [["contestant", "compile, s", "temporary memory / ours", "busy threads", "of peak"], ["---"] * 5]
    by_point = table(row for row in rows if row["mode"] == "gradients")
    names = dict.fromkeys(name for contestants in by_point.values() for name in contestants)
    for name in names:
        pairs = [
            (contestants[name], contestants.get(OURS, {})) for contestants in by_point.values() if name in contestants
        ]
        memory = [
            float(row["temp_bytes"]) / float(ours["temp_bytes"])
            for row, ours in pairs
            if row.get("temp_bytes") and float(ours.get("temp_bytes") or 0)
        ]
        line = [name]
        for column, text in (
            ("compile_s", "{:.2f}"),
            (None, "{:.2f}"),
            ("busy_threads", "{:.1f}"),
            ("fraction_of_peak", "{:.0%}"),
        ):
            values = memory if column is None else [float(row[column]) for row, _ in pairs if row.get(column)]
            line.append(text.format(np.median(values)) if values else "")
        lines.append(line)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## What else it costs\n\nMedians over the points, value and all gradients.\n\n{body}"


def _remarks(rows):
    errors = [float(row["max_error"]) for row in rows if row.get("max_error") and row["status"] == "timed"]
    lines = (
        [f"- Largest error of any leaf of anybody who was timed, against float64: {max(errors):.1e}."] if errors else []
    )
    remarks: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        text = row["reason"]
        if row["status"] == "disagrees":
            text = f"{row['worst_leaf']} is off by {float(row['max_error']):.1e}. {text}".strip()
        if text:
            status = "" if row["status"] == "timed" else f"{row['status']}: "
            cells = remarks.setdefault((row["contestant"], status + text), [])
            if row["cell"] not in cells:
                cells.append(row["cell"])
    lines += [f"- {name} ({', '.join(cells)}): {text}." for (name, text), cells in remarks.items()]
    return "## Remarks\n\n" + "\n".join(lines)


if __name__ == "__main__":
    main()
