"""Pictures of a run."""

import io
import math
from pathlib import Path

from matplotlib.figure import Figure

from jbptt.app.errors import UserError
from jbptt.app.files import write_atomically
from jbptt.app.metrics import read_rows


def plot_losses(run: Path, bigram_nats: float | None = None) -> Path:
    """Draws loss.png from metrics.csv of a run, with a line at the bigram entropy. Returns its path.

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
    axes.set(xlabel="step", ylabel="bits per character", title=str(run))
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    write_atomically(run / "loss.png", image.getvalue())
    return run / "loss.png"
