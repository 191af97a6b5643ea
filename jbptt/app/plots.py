"""Pictures of a run."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jbptt.app.errors import UserError
from jbptt.app.gradient_reach import Reach
from jbptt.app.metrics import read_rows
from jbptt.interop.writing import write_atomically


class Curve(NamedTuple):
    """What a picture of a run's losses shows.

    - `unit`: of the losses, as in `jbptt.app.metrics.UNITS`.
    - `item`: what a loss is of, e.g. "character".
    - `levels`: horizontal lines, by their names, in that unit.
    """

    unit: str
    item: str
    levels: dict[str, float]


def plot_losses(run: Path, curve: Curve) -> Path:
    """Draws loss.png from metrics.csv of a run. Returns its path. Raises UserError if there are no metrics."""
    rows = read_rows(run, ("step", *(f"{of}_{curve.unit}" for of in ("train", "validation"))))
    if not rows:
        raise UserError(f"{run} has no metrics.csv with at least one row: train first")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for of, style, label in (("train", "-", "training"), ("validation", "o-", "validation")):
        known = [row for row in rows if row[f"{of}_{curve.unit}"] is not None]
        axes.plot([row["step"] for row in known], [row[f"{of}_{curve.unit}"] for row in known], style, label=label)
    for number, (name, level) in enumerate(curve.levels.items()):
        axes.axhline(level, linestyle="--", color=str(0.5 + 0.2 * (number % 2)), label=name)
    axes.set(xlabel="step", ylabel=f"{curve.unit.replace('_', ' ')} per {curve.item}")
    axes.set_title(str(run), parse_math=False)  # a name may hold dollar signs
    axes.grid(alpha=0.3)
    axes.legend()
    return _saved(figure, run / "loss.png")


class HeatMap(NamedTuple):
    """How much each token written attends to each of the source.

    - `alpha` [T, S].
    - `source`, `target`: S and T tokens.
    """

    alpha: np.ndarray
    source: Sequence[str]
    target: Sequence[str]


def plot_alignments(path: Path, maps: Sequence[HeatMap]) -> Path:
    """Draws heat maps one below the other: the source from left to right, what is written from top to bottom."""
    widest = max(len(each.source) for each in maps)
    heights = [len(each.target) + 2 for each in maps]  # with its labels
    figure = Figure(figsize=(0.22 * widest + 1.5, 0.22 * sum(heights)), layout="constrained")
    for axes, each in zip(figure.subplots(len(maps), squeeze=False, height_ratios=heights)[:, 0], maps, strict=True):
        axes.imshow(each.alpha, cmap="viridis", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(each.source)), each.source, parse_math=False)
        axes.set_yticks(range(len(each.target)), each.target, parse_math=False)
        axes.tick_params(length=0)
    return _saved(figure, path)


SMALLEST_DRAWN = 1e-12
"""Of the norms of Jacobians: the curves of what vanishes go on below, and would press all others together."""


def plot_reaches(path: Path, reaches: Sequence[Reach]) -> Path:
    """Draws how far gradients reach back, a panel a cell: the median of the seeds, and their range as a band."""
    cells = list(dict.fromkeys(reach.cell for reach in reaches))
    figure = Figure(figsize=(4 * len(cells), 4.5), layout="constrained")
    for axes, cell in zip(figure.subplots(1, len(cells), sharey=True, squeeze=False)[0], cells, strict=True):
        of_cell = [reach for reach in reaches if reach.cell == cell]
        for curve in of_cell:
            back = range(1, len(curve.median) + 1)
            (line,) = axes.plot(back, curve.median, label=curve.setting)
            axes.fill_between(back, curve.least, curve.most, color=line.get_color(), alpha=0.25, linewidth=0)
            if curve.setting:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)  # on no curve
        axes.set(title=cell, xlabel="T − t, steps back", ylabel=f"‖∂{of_cell[0].field}ᵀ/∂hᵗ‖, spectral norm")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    axes.set_ylim(bottom=SMALLEST_DRAWN)
    return _saved(figure, path)


def _saved(figure, path):
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a token in a script that the font has not
        figure.savefig(image, dpi=120, format="png")
    write_atomically(path, image.getvalue())
    return path
