"""How a cell is pickled and copied: by the call that made it, for its functions are closures, which cannot be."""

from collections.abc import Callable
from functools import wraps
from operator import eq
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
Made = TypeVar("Made")


class Making(NamedTuple):
    """The call of a maker of cells."""

    maker: Callable
    args: tuple[Any, ...]
    options: dict[str, Any]


_MAKINGS: dict[Any, Making] = {}
"""Of every cell made so far, the outermost call that made it."""


def maker(function: Callable[P, Made]) -> Callable[P, Made]:
    """Decorates what makes cells: a cell of it is pickled as this call, one with fields replaced as this call and
    those fields. The function must be found by its name in its module."""

    @wraps(function)
    def remembered(*args: P.args, **options: P.kwargs) -> Made:
        cell = function(*args, **options)
        _MAKINGS[cell] = Making(remembered, args, options)
        return cell

    return remembered


def making_of(cell: Any) -> Making | None:
    """The call that made this very cell; None if none did."""
    return _MAKINGS.get(cell)


def reduced(cell: Any) -> tuple[Callable, tuple[Any, ...]]:
    """What `__reduce__` gives for this cell: its fields, where no call made one with its rule."""
    of_its_rule = [other for other in _MAKINGS if other.rule == cell.rule]
    if not of_its_rule:
        return type(cell), tuple(cell)
    nearest = max(of_its_rule, key=lambda other: sum(map(eq, other, cell)))
    pairs = zip(cell._fields, nearest, cell, strict=True)
    return _made, (_MAKINGS[nearest], {name: mine for name, its, mine in pairs if its != mine})


def _made(making: Making, replaced: dict[str, Any]) -> Any:
    """The cell that this call has made already, or makes now: where nothing was cached, only the former is equal."""
    cell = next((cell for cell, known in _MAKINGS.items() if known == making), None)
    if cell is None:
        cell = making.maker(*making.args, **making.options)
    return cell._replace(**replaced)
