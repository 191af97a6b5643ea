"""The command line's options: their types, and one for each setting of a run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jbptt.app.every import Every
from jbptt.app.settings import FROM_0, MOST, choices

POSITIVE = click.IntRange(1, 2**31 - 1)
FILE = click.Path(path_type=Path)


SMALLEST = 2.0**-126
"""In float32 what is smaller has fewer digits, and at last is 0."""


class FiniteNumber(click.ParamType):
    """A number above 0, or from 0 on, that float32 can hold."""

    name = "number"

    def __init__(self, *, zero_included: bool):
        self._included = zero_included

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = click.FLOAT.convert(value, param, ctx)
        is_zero = number == 0 and self._included
        if not (SMALLEST <= number < 3e38 or is_zero):
            self.fail(f"{value} is not a finite number {'from 0 on' if self._included else 'above 0'}", param, ctx)
        return number


class Share(click.FloatRange):
    """A number within bounds, which NaN is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


class Interval(click.ParamType):
    """So many steps, or minutes."""

    name = "steps|minutes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            Every.of(value)
        except ValueError:
            self.fail(f"{value} is neither a number of steps, as 500, nor of minutes, as 2m", param, ctx)
        return value


BEST = "Take the checkpoint with the least validation loss, not the newest."

ABOVE_ZERO = FiniteNumber(zero_included=False)


def setting_options(defaults: Any, texts: dict[str, str]) -> Callable[[Callable], Callable]:
    """An option for each of these settings, of the type that it has in `defaults`, a NamedTuple.

    One that is not given is None, so that a resumed run can tell; the help names the default.
    """

    def decorate(command):
        for name, text in reversed(texts.items()):
            command = _setting(defaults, name, text)(command)
        return command

    return decorate


def _setting(defaults, name, text):
    default, option = getattr(defaults, name), f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        off = f"--no-{name}"
        return click.option(f"{option}/{off}", default=None, help=f"{text}  [default: {option if default else off}]")
    if options := choices(type(defaults), name):
        of = click.Choice(options)
    elif name == "checkpoint_every":
        of = Interval()
    elif name == "seed":
        of = click.IntRange(0, 2**32 - 1)
    elif name in MOST:
        of = click.IntRange(1, MOST[name])
    elif name in FROM_0:
        whole = isinstance(default, int)
        of = click.IntRange(min=0) if whole else Share(0, FROM_0[name], max_open=True)
    else:
        of = POSITIVE if isinstance(default, int) else ABOVE_ZERO
    return click.option(option, type=of, help=f"{text}  [default: {default}]")


TRAINING = {
    "steps": "Steps of training. A resumed run may be given more; a cosine then spans them all.",
    "optimizer": "Optimiser.",
    "learning_rate": "Learning rate.",
    "schedule": "How the learning rate goes, step by step.",
    "clip": "Largest global norm of the gradient.",
    "seed": "Random seed.",
    "dtype": "Of parameters and activations.",
    "vjp": "Backpropagation through time: derived by hand, or jax.grad's.",
}

DROPOUT = {
    "dropout": "Part of the features dropped between layers, in training.",
    "recurrent_dropout": "Part of the units that the recurrent product does not see, in training.",
}

STOPPING = {
    "validations": "About how many validations a run has, each with a checkpoint.",
    "patience": "End training after so many validations, none better than those before; 0: never.",
    "checkpoint_every": "Steps, or minutes (2m), after which a checkpoint is saved, beside those of the validations.",
}

NFC = {"nfc": "Make one character of a letter and its combining accents (Unicode's normal form C)."}

CHARS = (
    {
        "cell": "Recurrent cell.",
        "layers": "Recurrent layers.",
        "hidden": "Units of each layer.",
        "length": "Characters that the gradient goes back through (the chunk's length).",
        "batch": "Streams of text side by side.",
    }
    | TRAINING
    | DROPOUT
    | {"zoneout": "Part of the state that stays what it was at each step, in training."}
    | STOPPING
    | NFC
)

TRANSLATION = (
    {
        "attention": "How the decoder looks back at the source.",
        "baseline": "Train a model without attention beside it, on the same batches, for the table of results.",
        "encoder": "How the source is read: from both ends, or forward, or from its end.",
        "cell": "Recurrent cell, of encoder and decoder.",
        "layers": "Recurrent layers of each.",
        "hidden": "Units of each layer (for each direction), and features of each token.",
        "batch": "Pairs a step.",
    }
    | TRAINING
    | DROPOUT
    | STOPPING
)


def run_options(task: str) -> Callable[[Callable], Callable]:
    """What every training command takes beside its settings."""

    def decorate(command):
        out = f"Folder of the run.  [default: the next free runs/{task}-N]"
        resume = f"Go on with the run in --out.  [default: the newest runs/{task}-N]"
        command = click.option("--json", "as_json", is_flag=True, help="Report in JSON lines.")(command)
        command = click.option("--resume", is_flag=True, help=resume)(command)
        return click.option("--out", type=FILE, help=out)(command)

    return decorate
