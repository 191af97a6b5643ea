"""Pictures of a run."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jbptt.app.errors import UserError
from jbptt.app.gradient_reach import Curve
from jbptt.app.metrics import read_rows
from jbptt.interop.writing import write_atomically


def plot_losses(run: Path, item: str, bigram_nats: float | None = None) -> Path:
    """Draws loss.png from metrics.csv of a run, bits per `item`, with a line at the bigram entropy. Returns its path.

    Raises UserError if there are no metrics.
    """
    rows = read_rows(run)
    if not rows:
        raise UserError(f"{run} has no metrics.csv with at least one row: train first")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["train_bits"] for row in rows], label="training")
    validated = [row for row in rows if row["validation_bits"] is not None]
    axes.plot(
        [row["step"] for row in validated], [row["validation_bits"] for row in validated], "o-", label="validation"
    )
    if bigram_nats is not None:
        axes.axhline(bigram_nats / math.log(2), linestyle="--", color="gray", label="bigram entropy")
    axes.set(xlabel="step", ylabel=f"bits per {item}")
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


def plot_reaches(path: Path, curves: Sequence[Curve]) -> Path:
    """Draws how far gradients reach back, a panel a cell: the median of the seeds, and their range as a band."""
    cells = list(dict.fromkeys(curve.cell for curve in curves))
    figure = Figure(figsize=(4 * len(cells), 4.5), layout="constrained")
    for axes, cell in zip(figure.subplots(1, len(cells), sharey=True, squeeze=False)[0], cells, strict=True):
        of_cell = [curve for curve in curves if curve.cell == cell]
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
