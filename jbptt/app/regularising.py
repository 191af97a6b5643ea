"""Dropout, recurrent dropout and zoneout as settings: what training draws at a step, and what stays of it after."""

from typing import Any

import jax

from jbptt.app.errors import UserError
from jbptt.cells.rule import Cell

NOT_OF_PARAMETERS = 2**31
"""Parameters start from `split(key, n)`, which are `fold_in(key, 0)` to n − 1."""

RATES = ("dropout", "recurrent_dropout", "zoneout")


def check(settings: Any, cell: Cell) -> None:
    """Raises UserError for recurrent dropout of a cell that has none."""
    if settings.recurrent_dropout and "h_mask" not in cell.rule.reads:
        raise UserError(f"--recurrent-dropout must be 0 for --cell {settings.cell}, which has none")


def rates(settings: Any) -> dict[str, Any]:
    """The library's options of those names, of the settings that there are."""
    return {name: getattr(settings, name) for name in RATES if name in settings._fields}


def key_of_step(settings: Any, number: Any) -> jax.Array | None:
    """What step 0, 1, ... draws with, by another key than parameters start from; None where nothing is drawn."""
    if not any(rates(settings).values()):
        return None
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), NOT_OF_PARAMETERS), number)
