"""The recurrence forward: `lax.scan` over time. What "auto" differentiates, and "manual" runs."""

from typing import Any

import jax
from jax import lax

from jbptt.cells.cell import Cell, Params, State


def forward(cell: Cell, length: int | None, params: Params, state: State, z: jax.Array) -> tuple[State, jax.Array]:
    """Every step of the cell.

    - `length`: None, and `z` [T, B, G·H] holds each step's; or T, and `z` [G·H] serves every step.

    Returns the state after the last step, and every h [T, B, H].
    """

    def step(state, z):
        state, _ = cell.step(params, state, z)
        return state, state.h

    return _over_time(step, length, state, z)


def forward_saving(
    cell: Cell, length: int | None, params: Params, state: State, z: jax.Array
) -> tuple[State, tuple[jax.Array, Any]]:
    """`forward`, with what every step saved beside every h."""

    def step(state, z):
        state, saved = cell.step(params, state, z)
        return state, (state.h, saved)

    return _over_time(step, length, state, z)


def _over_time(step, length, state, z):
    if length is None:
        return lax.scan(step, state, z)

    def step_with_constant(state, _):
        return step(state, jax.numpy.broadcast_to(z, (*state.h.shape[:-1], *z.shape)))

    return lax.scan(step_with_constant, state, None, length=length)
