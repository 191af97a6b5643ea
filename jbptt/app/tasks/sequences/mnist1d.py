"""MNIST-1D (Greydanus and Kobak 2020): ten shapes of 40 points, moved, stretched, bent and blurred.

The package makes them, by its own seed: 4,000 to learn from, of which the last 500 are for validation, and 1,000 for
the test.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.finite import classification, shipped
from jbptt.app.tasks.sequences.task import Problem, Task

VALIDATION, TEST = 500, 1000
"""How many are held out."""


class Settings(NamedTuple):
    cell: shared.Cell = "gru"
    hidden: shared.Hidden = 96
    batch: Annotated[int, "Shapes a step."] = 100
    steps: shared.Steps = 4000


def problem(settings: Any) -> Problem:
    made = shipped("mnist1d.data").make_dataset()  # get_dataset would download
    shapes, classes = (np.concatenate([made[name], made[f"{name}_test"]]) for name in ("x", "y"))
    return classification(settings, shapes, classes, VALIDATION, TEST)


TASK = Task("mnist1d", "Train a model to tell ten shapes from 40 points each.", Settings, problem, figure="accuracy")
