"""Draws a CSV: ratios against size (benchmarks.peers, gpu), curves against size (scaling), or memory (memory).

python -m benchmarks.plots benchmarks/results/peers-....csv       # PNG files beside it
"""

from pathlib import Path

import click
import matplotlib

from benchmarks.contestants.roster import ROSTER
from benchmarks.measuring import results
from benchmarks.report import BEST, OURS, ratios, table

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "ms": "time, ms",
    "temp_bytes": "temporary memory, bytes",
    "compile_s": "trace and compile, s",
    "program_instructions": "instructions in the program",
}

FLAT = ("compile_s", "program_instructions")
COLOURS = {name: plt.get_cmap("tab20")(number) for number, name in enumerate(ROSTER)}


@click.command(help=__doc__.split("\n")[0])
@click.argument("path", metavar="CSV", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path):
    rows = results.read(path)
    if not rows:
        raise click.ClickException(f"{path} has no rows")
    kinds = {"sweep": scaling_curves, "residual_bytes": memory_curves, "mode": ratio_curves}
    draw = next((draw for column, draw in kinds.items() if column in rows[0]), None)
    if draw is None:
        raise click.ClickException(f"{path} is of a benchmark that has no picture")
    for name, figure in draw(rows).items():
        png = path.with_name(f"{path.stem}-{name}.png")
        figure.savefig(png, dpi=150, bbox_inches="tight")
        plt.close(figure)
        click.echo(png)


def ratio_curves(rows: list[results.Row]) -> dict[str, plt.Figure]:
    """A figure a mode, a panel a cell: everybody's time over ours, the points in the order of their work."""
    figures = {}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        points = table(row for row in rows if row["mode"] == mode)
        groups = list(dict.fromkeys((precision, cell) for precision, cell, _ in points))
        if not groups:
            continue
        figure, axes = plt.subplots(
            1, len(groups), figsize=(5 * len(groups), 4.5), sharey=True, squeeze=False, layout="constrained"
        )
        for axis, group in zip(axes[0], groups, strict=True):
            of_group = {sizes: ratios(by) for (*key, sizes), by in points.items() if tuple(key) == group}
            ordered = sorted((s for s in of_group if of_group[s]), key=lambda s: s.T * s.B * (s.I + s.H) * s.H)
            names = dict.fromkeys(name for sizes in ordered for name in of_group[sizes] if name != BEST)
            for name in names:
                xs = [x for x, sizes in enumerate(ordered) if name in of_group[sizes]]
                ys = [of_group[ordered[x]][name] for x in xs]
                axis.plot(xs, ys, marker="o", color=COLOURS[name], label=name)
            axis.axhline(1, color="black", linewidth=1)
            axis.set(title=" ".join(group), yscale="log", xticks=range(len(ordered)))
            axis.set_xticklabels(map(str, ordered), rotation=60, ha="right", fontsize=7)
        axes[0][0].set_ylabel(f"time / time of {OURS}")
        handles = {label: h for axis in axes[0] for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        axes[0][-1].legend(handles.values(), handles, fontsize=7, bbox_to_anchor=(1.02, 1), loc="upper left")
        figure.suptitle(f"{mode}: above the line, ours is faster (T x B x I x H, by work)")
        figures[mode] = figure
    return figures


def scaling_curves(rows: list[results.Row]) -> dict[str, plt.Figure]:
    """A figure a sweep and cell: time, memory, compile time and program size, on logarithmic axes."""
    figures = {}
    for sweep, cell in dict.fromkeys((row["sweep"], row["cell"]) for row in rows):
        chosen = [row for row in rows if (row["sweep"], row["cell"]) == (sweep, cell)]
        figure, axes = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.5), layout="constrained")
        for axis, (column, title) in zip(axes, PANELS.items(), strict=True):
            for contestant, mode in dict.fromkeys((row["contestant"], row["mode"]) for row in chosen):
                line = [row for row in chosen if (row["contestant"], row["mode"]) == (contestant, mode)]
                line = sorted((int(row[sweep]), float(row[column])) for row in line if row[column])
                style = "-" if mode == "gradients" else "--"
                label = f"{contestant}, {mode}"
                axis.plot(*zip(*line, strict=True), style, marker="o", color=COLOURS[contestant], label=label)
            axis.set(title=title, xlabel=sweep, xscale="log")
            if column in FLAT:
                axis.set_ylim(bottom=0)
            else:
                axis.set_yscale("log")
        axes[0].legend(fontsize=6)
        fixed = {name: sorted({int(row[name]) for row in chosen}) for name in "TBIH" if name != sweep}
        fixed = ", ".join(f"{name} = {values[0]}" for name, values in fixed.items() if len(values) == 1)
        figure.suptitle(f"{cell} against {sweep} ({fixed})")
        figures[f"{sweep}-{cell}"] = figure
    return figures


def memory_curves(rows: list[results.Row]) -> dict[str, plt.Figure]:
    """Bytes kept for the way back, and time over that of the first way, against T, of the first row's cell."""
    fixed = [rows[0][name] for name in ("cell", "B", "I", "H")]
    rows = [row for row in rows if [row[name] for name in ("cell", "B", "I", "H")] == fixed]
    figure, (kept, took) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = {way: sorted((row for row in rows if row["way"] == way), key=lambda row: int(row["T"])) for way in ways}
    for way, line in lines.items():
        T = [int(row["T"]) for row in line]
        kept.plot(T, [int(row["residual_bytes"]) for row in line], marker="o", label=way)
        ratio = [float(row["ms"]) / float(first["ms"]) for row, first in zip(line, lines[ways[0]], strict=True)]
        took.plot(T, ratio, marker="o", label=way)
    kept.set(title="kept for the way back, bytes", xlabel="T", xscale="log", yscale="log")
    took.set(title=f"time / time of {ways[0]}", xlabel="T", xscale="log", ylim=(0, None))
    kept.legend(fontsize=7)
    cell, B, I, H = fixed
    figure.suptitle(f"{cell}, value and all gradients (B = {B}, I = {I}, H = {H})")
    return {"T": figure}


if __name__ == "__main__":
    main()
