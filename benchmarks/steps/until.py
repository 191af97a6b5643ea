"""Time to a validation loss: everybody trains some steps in turn, until each has come to the level."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.steps.problem import StepProblem
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import streams

EVALUATED = 2**16
"""The characters, from the beginning of the validation split, that the loss is measured on."""


def times_to(
    nats: float, runners: dict[str, Any], problem: StepProblem, validation: np.ndarray, *, every: int, most: int
) -> dict[str, dict[str, Any]]:
    """{"seconds", "steps", "nats", "status"} of each runner: of training alone, to the first validation that is at
    `nats` or below; after `most` steps it is "not reached".

    - `validation`: its characters; whosever the weights are, the loss is ours.
    - `every`: the steps of a turn, and between validations.
    """
    stream = streams(validation[:EVALUATED], problem.sizes.B)
    loss = jax.jit(lambda params: model.evaluate(problem.settings, params, stream))
    found = {name: {"seconds": 0.0, "steps": 0, "status": "not reached"} for name in runners}
    running, rng = list(runners), np.random.default_rng(0)
    while running:
        for name in rng.permutation(running):
            row = found[name]
            time.sleep(0.05)  # other threads go to sleep
            row["seconds"] += runners[name].measure("step", every)[0] * every
            row["steps"] += every
            row["nats"] = float(loss(runners[name].weights()))
            if row["nats"] <= nats:
                row["status"] = "timed"
        running = [name for name in running if found[name]["status"] != "timed" and found[name]["steps"] < most]
    return found
