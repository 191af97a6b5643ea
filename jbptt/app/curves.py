"""What the picture of a run's losses shows, task by task."""

import math
from pathlib import Path

from jbptt.app.files import read_config
from jbptt.app.metrics import UNITS
from jbptt.app.plots import Curve
from jbptt.app.settings import not_ours
from jbptt.app.tasks.sequences.task import Problem

OF_PAIRS = Curve("bits", "token", {})


def of_chars(bigram_nats: float) -> Curve:
    """Of the character model."""
    return Curve("bits", "character", {"bigram entropy": bigram_nats / math.log(2)})


def of_sequences(figure: str, problem: Problem) -> Curve:
    """Of a task on sequences, with its baselines where these are losses."""
    loss, item = problem.output.loss, problem.output.item
    return Curve(loss, item, problem.baselines if figure == loss else {})


def of_run(run: Path) -> Curve:
    """Of the run in a folder, of whatever task. Raises UserError for what train did not write."""
    config = read_config(run)
    if (curve := config.get("curve")) is not None:
        if not _is_curve(curve):
            raise not_ours(run, "curve")
        return Curve(**curve)
    bigram = config.get("bigram_nats")
    if not isinstance(bigram, (float, type(None))):
        raise not_ours(run, "bigram_nats")
    return OF_PAIRS if bigram is None else of_chars(bigram)


def _is_curve(fields):
    if not isinstance(fields, dict) or set(fields) != set(Curve._fields):
        return False
    unit, item, levels = (fields[name] for name in Curve._fields)
    units = [name for of_loss in UNITS.values() for name in of_loss]
    known = unit in units and isinstance(item, str) and isinstance(levels, dict)
    return known and all(isinstance(level, float) for level in levels.values())
