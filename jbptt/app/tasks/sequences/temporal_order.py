"""The temporal order problem (Hochreiter and Schmidhuber 1997, experiment 6a).

Among random letters stand two symbols, each an X or a Y, one early and one past the middle: which of XX, XY, YX, YY it
was is to be said at the end. At the length of 100 the sequences are the paper's: 100 to 110 symbols, the first of the
two at 10 to 20, the second at 50 to 60. The LSTM of that paper had no forget gates, and without them it is learned.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.outputs import class_at_end
from jbptt.app.tasks.sequences.task import TEST, VALIDATION, Batch, Problem, Task, check_steps, held_out

BEGIN, END, LETTERS, X, Y = 0, 1, (2, 3, 4, 5), 6, 7


class Settings(NamedTuple):
    length: Annotated[int, "Symbols of the shortest sequence; the longest has a tenth more."] = 100
    cell: shared.Cell = "lstm_nfg"
    hidden: shared.Hidden = 32
    batch: Annotated[int, "Sequences a step."] = 16
    learning_rate: shared.LearningRate = 0.01
    schedule: shared.Schedule = "constant"


def draw(length: int, key: jax.Array, batch: int) -> Batch:
    """Inputs [T, B], symbols 0..7, with their lengths. Targets [B], 0..3."""
    keys = jax.random.split(key, 5)
    tenth, (classes, lengths) = length // 10, (keys[0], keys[1])
    T = length + tenth
    letters = jax.random.randint(keys[2], (T, batch), LETTERS[0], LETTERS[-1] + 1, jnp.int32)
    targets = jax.random.randint(classes, (batch,), 0, 4, jnp.int32)
    lengths = jax.random.randint(lengths, (batch,), length, T + 1, jnp.int32)
    first = jax.random.randint(keys[3], (batch,), tenth, 2 * tenth + 1)
    second = jax.random.randint(keys[4], (batch,), 5 * tenth, 6 * tenth + 1)
    steps = jnp.arange(T)[:, None]
    inputs = jnp.where(steps == first, X + targets // 2, letters)
    inputs = jnp.where(steps == second, X + targets % 2, inputs)
    inputs = jnp.where(steps == 0, BEGIN, jnp.where(steps == lengths - 1, END, inputs))
    return Batch(inputs, targets, lengths)


def problem(settings: Any) -> Problem:
    check_steps(settings, "length", 10)

    def drawn(key, batch):
        return draw(settings.length, key, batch)

    return Problem(
        inputs=Y + 1,
        output=class_at_end(4),
        draw=lambda key: drawn(key, settings.batch),
        validation=held_out(drawn, VALIDATION),
        tests={"held out": held_out(drawn, TEST)},
        baselines={"chance": 1 / 4},
    )


TASK = Task(
    "temporal-order",
    "Train a model to tell in which order two symbols stood in a long sequence.",
    Settings,
    problem,
    figure="accuracy",
    run_of_right=2000,
)
