"""What a task on sequences is.

A new one is a file of its own, which makes a `Task`, and a row in `table.py`: the command line, its help, the checks of
settings, resuming, metrics, pictures, results and tests are made from them.

T time, B batch, I inputs, K outputs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.app.errors import UserError
from jbptt.app.tasks.sequences.outputs import Output


class Batch(NamedTuple):
    """Sequences, and what is to be said of them.

    - `inputs`: floats [T, B, I], or symbols, integers [T, B].
    - `targets`: as the output takes them: [B, ...] at the end, [T, B, ...] at each step.
    - `lengths` [B]: of those that end before T; None if none does.
    - `weights` [T, B]: of the steps that count, where there is an output at each; None for all that there are.
    """

    inputs: jax.Array
    targets: Any
    lengths: jax.Array | None = None
    weights: jax.Array | None = None


class Problem(NamedTuple):
    """What a task's settings make of it.

    - `inputs`: how many features, or symbols, a step has.
    - `output`: what the model says, and what that costs.
    - `draw(key) -> Batch`: what a step of training learns from; traced.
    - `validation`: batches, the same for every seed.
    - `tests`: batches by what they are called, the first of them drawn as the training's are.
    - `baselines`: what can be had without learning what the task is about, in the task's figure.
    """

    inputs: int
    output: Output
    draw: Callable[[jax.Array], Batch]
    validation: list[Batch]
    tests: dict[str, list[Batch]]
    baselines: dict[str, float]


class Task(NamedTuple):
    """A row of the table.

    - `name`: as in `jbptt train NAME`.
    - `text`: a sentence for the help, and what else there is to say.
    - `settings`: a NamedTuple of the task's own settings, and of defaults of shared ones that it has others of.
    - `problem(settings)`: raises UserError for settings that contradict each other.
    - `figure`: which of its output's figures tells how well it does.
    - `run_of_right`: it counts as solved once so many training sequences in a row were right, each before anything was
      learned from it; 0, never.
    - `leave(run, settings, problem, params)`: writes more into a run's folder, and returns its paths.
    """

    name: str
    text: str
    settings: type
    problem: Callable[[Any], Problem]
    figure: str
    run_of_right: int = 0
    leave: Callable[[Path, Any, Problem, dict], list[Path]] = lambda run, settings, problem, params: []


PART = 250
"""Held-out sequences at once."""

VALIDATION, TEST, BEYOND = range(3)
"""What the keys of held-out sets are made of: no seed of a run draws from them."""


def held_out(draw: Callable[[jax.Array, int], Batch], which: int, size: int = 1000) -> list[Batch]:
    """Batches of `size` sequences in all, by a key of their own.

    - `draw(key, batch)`: makes so many.
    """
    keys = jax.random.split(jax.random.fold_in(jax.random.key(2**32 - 1), which), size // PART)
    drawn = jax.jit(draw, static_argnums=1)
    return [drawn(key, PART) for key in keys]


def sampled(sequences: Batch, output: Output, size: int) -> Callable[[jax.Array], Batch]:
    """A `draw` that picks `size` of these, each as likely as any."""

    def draw(key):
        return taken(sequences, output, jax.random.randint(key, (size,), 0, sequences.inputs.shape[1]))

    return draw


def in_parts(sequences: Batch, output: Output) -> list[Batch]:
    """All of these, `PART` at once."""
    size = sequences.inputs.shape[1]
    starts = range(0, size, PART)
    return [taken(sequences, output, jnp.arange(start, min(start + PART, size))) for start in starts]


def taken(sequences: Batch, output: Output, which: jax.Array) -> Batch:
    """Some of these, by their numbers."""
    inputs, targets, lengths, weights = sequences
    return Batch(
        inputs[:, which],
        jax.tree.map(lambda leaf: leaf[which] if output.at_end else leaf[:, which], targets),
        None if lengths is None else lengths[which],
        None if weights is None else weights[:, which],
    )


LONGEST = 100_000
"""Steps of a sequence at most: more would not end."""


def check_steps(settings: Any, name: str, least: int) -> None:
    """Raises UserError for a setting, a number of steps, below what the task can do with, or beyond the longest."""
    if not least <= (steps := getattr(settings, name)) <= LONGEST:
        raise UserError(f"--{name.replace('_', '-')} must be from {least} to {LONGEST}, got {steps}")
