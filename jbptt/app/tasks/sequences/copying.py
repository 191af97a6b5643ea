"""The copy problem (Hochreiter and Schmidhuber 1997, in the form of Arjovsky 2016).

Ten symbols out of eight are shown, then T − 1 blanks, a mark, and ten blanks more, during which the ten symbols are to
be said; before, blanks. A model without a memory knows all but these ten: 10 ln 8 / (T + 20) nats a step.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.outputs import class_at_each_step
from jbptt.app.tasks.sequences.task import TEST, VALIDATION, Batch, Problem, Task, check_steps, held_out

SHOWN, SYMBOLS = 10, 8
BLANK, MARK = SYMBOLS, SYMBOLS + 1


class Settings(NamedTuple):
    delay: Annotated[int, "Steps from the symbols to where they are to be said, T."] = 50
    cell: shared.Cell = "gru"
    hidden: shared.Hidden = 128
    steps: shared.Steps = 5000
    schedule: shared.Schedule = "constant"


def draw(delay: int, key: jax.Array, batch: int) -> Batch:
    """Inputs and targets [T + 20, B]: symbols 0..7, blanks, and in the inputs a mark."""
    shown = jax.random.randint(key, (SHOWN, batch), 0, SYMBOLS, jnp.int32)
    inputs = jnp.full((delay + 2 * SHOWN, batch), BLANK, jnp.int32)
    targets = inputs.at[-SHOWN:].set(shown)
    return Batch(inputs.at[:SHOWN].set(shown).at[SHOWN + delay - 1].set(MARK), targets)


def problem(settings: Any) -> Problem:
    check_steps(settings, "delay", 1)

    def drawn(key, batch):
        return draw(settings.delay, key, batch)

    return Problem(
        inputs=SYMBOLS + 2,
        output=class_at_each_step(SYMBOLS + 1, "step"),
        draw=lambda key: drawn(key, settings.batch),
        validation=held_out(drawn, VALIDATION),
        tests={"held out": held_out(drawn, TEST)},
        baselines={"without a memory": SHOWN * float(np.log(SYMBOLS)) / (settings.delay + 2 * SHOWN)},
    )


TASK = Task(
    "copy",
    "Train a model to say ten symbols again after a long while.",
    Settings,
    problem,
    figure="nats",
    run_of_right=2000,
)
