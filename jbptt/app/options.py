"""The command line's options: their types, and one for each setting of a run."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from jbptt.app.every import Every
from jbptt.app.settings import FROM_0, MOST, choices, text_of

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


def setting_options(defaults: Any, without: Sequence[str] = ()) -> Callable[[Callable], Callable]:
    """An option for each of the settings in `defaults`, a NamedTuple, but for those named in `without`.

    One that is not given is None, so that a resumed run can tell; the help names the default.
    """

    def decorate(command):
        for name in reversed(defaults._fields):
            if name not in without:
                command = _setting(defaults, name)(command)
        return command

    return decorate


def _setting(defaults, name):
    default, option, text = getattr(defaults, name), f"--{name.replace('_', '-')}", text_of(type(defaults), name)
    if isinstance(default, bool):
        off = f"--no-{option.removeprefix('--')}"
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


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Those of the options' values that the user gave."""
    return {name: value for name, value in values.items() if value is not None}


def run_options(task: str) -> Callable[[Callable], Callable]:
    """What every training command takes beside its settings."""

    def decorate(command):
        out = f"Folder of the run.  [default: the next free runs/{task}-N]"
        resume = f"Go on with the run in --out.  [default: the newest runs/{task}-N]"
        command = click.option("--json", "as_json", is_flag=True, help="Report in JSON lines.")(command)
        command = click.option("--resume", is_flag=True, help=resume)(command)
        return click.option("--out", type=FILE, help=out)(command)

    return decorate
