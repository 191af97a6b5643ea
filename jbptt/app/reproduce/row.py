"""What a published result is made of: its claim, what is run, which figures are taken, and when they agree.

R runs, S seeds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np


class Figure(NamedTuple):
    """A number of a run.

    - `of(results)`: the number, from the fields of the run's results.json.
    - `form`: how it is written, as `str.format` takes it.
    - `published`: the source's, as it has it; empty where it has none.
    """

    of: Callable[[dict[str, Any]], float]
    form: str
    published: str = ""


class Training(NamedTuple):
    """A run of a task on sequences.

    - `task`: its name.
    - `given`: the settings that are not the task's defaults; the seed is none of them.
    - `figures`: by names that are the row's own.
    """

    task: str
    given: dict[str, Any]
    figures: dict[str, Figure]


class Measurement(NamedTuple):
    """A run that trains nothing, and takes a few seconds.

    - `measure(seed)`: the fields of its results.json.
    """

    measure: Callable[[int], dict[str, Any]]
    figures: dict[str, Figure]


Run = Training | Measurement

When = Literal["quick", "whole", "named"]
"""With which rows one is run: also with --quick; with the whole table; when its name is given, for it takes long."""


class Rule(NamedTuple):
    """When the figures agree with the claim.

    - `agrees(figures)`: of every figure's values [S], by their names.
    """

    text: str
    agrees: Callable[[dict[str, np.ndarray]], bool]


class Row(NamedTuple):
    """A published result.

    - `name`: as in `jbptt reproduce NAME`.
    - `claim`, `source`: what was said, and where.
    - `setting`: what is run here, and how that differs.
    - `runs`: what is run, by names that are a part of the folders'.
    """

    name: str
    claim: str
    source: str
    setting: str
    runs: dict[str, Run]
    rule: Rule
    when: When = "whole"

    def figures(self) -> dict[str, Figure]:
        """Of all runs."""
        return {name: figure for run in self.runs.values() for name, figure in run.figures.items()}


def _held_out(results):
    """The task's figure on what the training's sequences are like."""
    first, *_ = results["sets"].values()
    return first[results["figure"]]


def _longer(results):
    *_, last = results["sets"].values()
    return last[results["figure"]]


def _baseline(results):
    first, *_ = results["baselines"].values()
    return first


def _solved_after(results):
    return np.inf if results["solved_after"] is None else results["solved_after"]


SEQUENCES = partial(Figure, _solved_after, "{:,.0f}")
"""After which a task counted as solved; infinitely many if it did not."""
ACCURACY = partial(Figure, _held_out, "{:.1%}")
ACCURACY_OF_LONGER = partial(Figure, _longer, "{:.1%}")
ACCURACY_OF_BASELINE = partial(Figure, _baseline, "{:.1%}")
NATS = partial(Figure, _held_out, "{:.3f}")
SQUARED_ERROR = partial(Figure, _held_out, "{:.4f}")


def solved_within(name: str, published: float) -> Rule:
    """That every seed solves the task, and their mean takes no more sequences than were published."""
    return Rule(
        f"every seed solves it, in a mean of at most {published:,} sequences",
        lambda figures: bool(figures[name].mean() <= published),
    )
