"""Regular languages, learned from short strings and tested on longer ones too (as in Delétang 2023).

- parity: is the number of ones odd?
- even pairs: of 01 and 10 together, is the number even? So it is if the first symbol is the last.
- cycle navigation: steps of −1, 0 or 1 on a ring of five: where do they end?

Each string's answer is to be said at its end. Lengths are uniform within their bounds.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.outputs import class_at_end
from jbptt.app.tasks.sequences.task import BEYOND, TEST, VALIDATION, Batch, Problem, Task, check_steps, held_out


class Settings(NamedTuple):
    longest: Annotated[int, "Symbols of the longest string in training; the shortest has 2."] = 40
    tested: Annotated[int, "Symbols of the longest string in the test of longer ones."] = 200
    batch: Annotated[int, "Strings a step."] = 64
    steps: shared.Steps = 6000
    schedule: shared.Schedule = "constant"


class Language(NamedTuple):
    """Strings of symbols 0, 1, ..., `symbols` − 1, each with an answer out of `classes`.

    - `answers(strings [T, B], mask [T, B]) -> [B]`; the mask is of the symbols that there are.
    - `likeliest(longest)`: how often the likeliest answer is right for strings of 2 to `longest` symbols.
    """

    symbols: int
    classes: int
    answers: Callable[[jax.Array, jax.Array], jax.Array]
    likeliest: Callable[[int], float]


def draw(language: Language, shortest: int, longest: int, key: jax.Array, batch: int) -> Batch:
    """Inputs [T, B] with their lengths. Targets [B]."""
    of_lengths, of_symbols = jax.random.split(key)
    lengths = jax.random.randint(of_lengths, (batch,), shortest, longest + 1, jnp.int32)
    strings = jax.random.randint(of_symbols, (longest, batch), 0, language.symbols, jnp.int32)
    mask = jnp.arange(longest)[:, None] < lengths
    return Batch(strings, language.answers(strings, mask).astype(jnp.int32), lengths)


def _even_pairs(strings, mask):
    changes = (strings[1:] != strings[:-1]) & mask[1:]
    return 1 - jnp.sum(changes, axis=0) % 2


RING = 5


def _ring_after(longest):
    """How often a walk of 2 to `longest` steps is where it began, the likeliest place."""
    stays = (np.eye(RING) + np.roll(np.eye(RING), 1, 0) + np.roll(np.eye(RING), -1, 0)) / 3
    return float(np.mean([np.linalg.matrix_power(stays, n)[0, 0] for n in range(2, longest + 1)]))


PARITY = Language(2, 2, lambda strings, mask: jnp.sum(strings * mask, axis=0) % 2, lambda longest: 1 / 2)
EVEN_PAIRS = Language(2, 2, _even_pairs, lambda longest: 1 / 2)
CYCLE = Language(3, RING, lambda strings, mask: jnp.sum((strings - 1) * mask, axis=0) % RING, _ring_after)


def _task(name, text, language):
    def problem(settings: Any) -> Problem:
        longest, tested = settings.longest, settings.tested
        check_steps(settings, "longest", 2)
        check_steps(settings, "tested", longest + 1)

        def drawn(key, batch):
            return draw(language, 2, longest, key, batch)

        def longer(key, batch):
            return draw(language, longest + 1, tested, key, batch)

        return Problem(
            inputs=language.symbols,
            output=class_at_end(language.classes),
            draw=lambda key: drawn(key, settings.batch),
            validation=held_out(drawn, VALIDATION),
            tests={
                f"2 to {longest} symbols": held_out(drawn, TEST),
                f"{longest + 1} to {tested} symbols": held_out(longer, BEYOND),
            },
            baselines={"the likeliest answer": language.likeliest(longest)},
        )

    return Task(name, f"Train a model to tell {text}", Settings, problem, figure="accuracy", run_of_right=2000)


TASKS = (
    _task("parity", "whether a string has an odd number of ones.", PARITY),
    _task("even-pairs", "whether a string ends with the symbol that it began with.", EVEN_PAIRS),
    _task("cycle-navigation", "where steps on a ring of five end.", CYCLE),
)
