"""The recurrence forward: `lax.scan` over time. What "auto" differentiates, and "manual" runs."""

from typing import Any

import jax
from jax import lax

from jbptt.cells.cell import Cell, Params, State


def forward(
    cell: Cell, length: int | None, params: Params, state: State, zs: jax.Array | None
) -> tuple[State, jax.Array]:
    """Every step of the cell.

    - `zs`: [T, B, G·H], each step's projected input; or None, and there are `length` steps without one.

    Returns the state after the last step, and every h [T, B, H].
    """

    def step(state, z):
        state, _ = cell.step(params, state, z)
        return state, state.h

    return lax.scan(step, state, zs, length=length)


def forward_saving(
    cell: Cell, length: int | None, params: Params, state: State, zs: jax.Array | None
) -> tuple[State, tuple[jax.Array, Any]]:
    """`forward`, with what every step saved beside every h."""

    def step(state, z):
        state, saved = cell.step(params, state, z)
        return state, (state.h, saved)

    return lax.scan(step, state, zs, length=length)
