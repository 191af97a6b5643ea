"""Handwritten digits, pixel by pixel (Le 2015, with the small digits that scikit-learn ships: 8 x 8, 1,797 of them)."""

from typing import Annotated, Any, NamedTuple

import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.finite import classification, shipped
from jbptt.app.tasks.sequences.task import Problem, Task

VALIDATION, TEST = 200, 400
"""How many are held out."""


class Settings(NamedTuple):
    permuted: Annotated[bool, "Read the pixels in an order that is random, and the same for all."] = False
    hidden: shared.Hidden = 96
    batch: Annotated[int, "Digits a step."] = 64
    steps: shared.Steps = 3000


def problem(settings: Any) -> Problem:
    digits = shipped("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(64) if settings.permuted else np.arange(64)
    shuffled = np.random.default_rng(1).permutation(len(digits.data))
    pixels, classes = digits.data[shuffled][:, order] / 16, digits.target[shuffled]
    return classification(settings, pixels, classes, VALIDATION, TEST)


TASK = Task("digits", "Train a model to read handwritten digits pixel by pixel.", Settings, problem, figure="accuracy")
