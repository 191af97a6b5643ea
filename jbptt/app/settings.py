"""A run's settings: NamedTuples of numbers, choices (a Literal) and switches, checked when they are read again."""

import math
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jbptt.app.errors import UserError
from jbptt.app.every import Every

FROM_0 = {"dropout": 1, "recurrent_dropout": 1, "zoneout": 1, "patience": math.inf}
"""The settings that may be 0, and what they must be below; the other numbers are above 0."""

MOST = {"layers": 1000, "frames": 24}
"""The settings that have a largest value."""


MAY_CHANGE = ("patience", "checkpoint_every", "until_solved")
"""The settings that a run may go on with others of: what is learned at a step does not depend on them."""


def choices(kind: type, name: str) -> tuple[str, ...]:
    """The values that a setting of a Literal's type can have; none for others."""
    return get_args(get_type_hints(kind)[name])


def text_of(kind: type, name: str) -> str:
    """What the command line says of a setting: the first annotation of its type."""
    return get_type_hints(kind, include_extras=True)[name].__metadata__[0]


def joined(own: type, shared: type) -> type:
    """A NamedTuple of the fields of two: of one that both have, the type and default are `own`'s."""
    hints = [get_type_hints(kind, include_extras=True) for kind in (own, shared)]
    fields: Any = {name: hint for name, hint in hints[0].items() if name not in hints[1]} | hints[1] | hints[0]
    defaults = shared()._asdict() | own()._asdict()
    kind = namedtuple("Settings", fields, defaults=[defaults[name] for name in fields])
    kind.__annotations__ = fields
    return kind


def settings_in(config: dict[str, Any], kind: type, fields: dict[str, type], run: Path) -> Any:
    """The settings, of the NamedTuple `kind`, in a run's config.json.

    - `fields`: what else must be in it, and not empty: names and types.

    Raises UserError for anything that the command line would not have written.
    """
    wrong = [name for name, of in fields.items() if not isinstance(config.get(name), of) or not config[name]]
    wrong += [name for name, of in fields.items() if of is int and name not in wrong and config[name] < 1]
    values, defaults = config["settings"], kind()._asdict()
    if not isinstance(values, dict):
        wrong.append("settings")
    if not wrong:
        wrong = sorted(set(values) - set(defaults))
        values = defaults | values  # a run of before there was a setting has its default
        wrong += [name for name, default in defaults.items() if type(values[name]) is not type(default)]
    if not wrong:
        wrong = [name for name, value in values.items() if not _possible(kind, name, value)]
    if wrong:
        raise not_ours(run, *wrong)
    return kind(**values)


def not_ours(run: Path, *names: str) -> UserError:
    """That these fields of a run's config.json are not what the command line would have written."""
    return UserError(f"{run / 'config.json'} is not what train wrote: look at {', '.join(map(repr, names))}")


@contextmanager
def blaming(settings: Any, *names: str) -> Iterator[None]:
    """Turns a ValueError about sizes into a UserError that names these settings."""
    try:
        yield
    except ValueError as error:
        given = " ".join(f"--{name} {getattr(settings, name)}" for name in names)
        raise UserError(f"{given}: {error}") from None


def resumed(settings: Any, given: dict[str, Any], run: Path) -> Any:
    """The settings of a run that goes on, with those that may change as the user gave them, and more steps, if it was
    more. Raises UserError for other changes."""
    for name, value in given.items():
        before = getattr(settings, name)
        if value != before and name not in ("steps", *MAY_CHANGE):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} {value} contradicts the run in {run}, which has {before}: leave it out")
    if given.get("steps", settings.steps) < settings.steps:
        raise UserError(
            f"--steps {given['steps']} is less than the run in {run} has ({settings.steps}): it can only grow"
        )
    return settings._replace(**given)


def _possible(kind, name, value):
    """Whether the command line would have taken this value of a setting, which is of the right type."""
    if options := choices(kind, name):
        return value in options
    if isinstance(value, bool):
        return True
    if name == "checkpoint_every":
        return _is_interval(value)
    if name == "seed":
        return 0 <= value < 2**32
    if name in FROM_0:
        return 0 <= value < FROM_0[name]
    return value >= 1 if isinstance(value, int) else math.isfinite(value) and value > 0


def _is_interval(text):
    try:
        Every.of(text)
    except ValueError:
        return False
    return True
