"""The adding problem (Hochreiter and Schmidhuber 1997, in the form of Le 2015 and Arjovsky 2016).

Of T random numbers two are marked, one in each half: their sum is to be said at the end. A model that does not look
says 1, their mean, and is wrong by 2 · 1/12 = 1/6 squared, the sum's variance. Hochreiter and Schmidhuber let an error
be 0.04 of sums half as large: a tolerance of 0.08 here.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.outputs import number_at_end
from jbptt.app.tasks.sequences.task import TEST, VALIDATION, Batch, Problem, Task, check_steps, held_out


class Settings(NamedTuple):
    length: Annotated[int, "Steps of a sequence, T."] = 100
    tolerance: Annotated[float, "Error below which a sum counts as right."] = 0.04
    steps: shared.Steps = 6000
    schedule: shared.Schedule = "constant"


def draw(length: int, key: jax.Array, batch: int) -> Batch:
    """Inputs [T, B, 2]: a number in [0, 1), and whether it is marked. Targets [B]."""
    of_numbers, of_first, of_second = jax.random.split(key, 3)
    numbers = jax.random.uniform(of_numbers, (length, batch), jnp.float32)
    half = length // 2
    first = jax.random.randint(of_first, (batch,), 0, half)
    second = jax.random.randint(of_second, (batch,), half, length)
    steps = jnp.arange(length)[:, None]
    marks = ((steps == first) | (steps == second)).astype(jnp.float32)
    return Batch(jnp.stack([numbers, marks], axis=-1), jnp.sum(numbers * marks, axis=0))


def problem(settings: Any) -> Problem:
    check_steps(settings, "length", 2)

    def drawn(key, batch):
        return draw(settings.length, key, batch)

    return Problem(
        inputs=2,
        output=number_at_end(settings.tolerance),
        draw=lambda key: drawn(key, settings.batch),
        validation=held_out(drawn, VALIDATION),
        tests={"held out": held_out(drawn, TEST)},
        baselines={"guessing the mean": 1 / 6},
    )


TASK = Task(
    "adding",
    "Train a model to add two marked numbers of a long sequence.",
    Settings,
    problem,
    figure="squared_error",
    run_of_right=2000,
)
