"""The recurrence forward: `lax.scan` over time."""

from typing import Any, NamedTuple

import jax
from jax import lax

from jbptt.cells.cell import Cell, Params, State
from jbptt.recurrence.marks import Marks, enter, leave, zoned

CACHED = 2**23
"""Bytes of weights that a CPU's caches hold from one step to the next. Measured: benchmarks/NOTES.md."""


class Direction(NamedTuple):
    """- `length`: how many steps there are where there is no input; else None.
    - `reverse`: from the last step to the first.
    """

    length: int | None = None
    reverse: bool = False


class Sequence(NamedTuple):
    """What there is at every step: `xs` [T, B, I], or None, and the steps have no input; and its marks."""

    xs: jax.Array | None
    marks: Marks = Marks()


def forward(
    cell: Cell, direction: Direction, params: Params, state: State, reset_state: State | None, sequence: Sequence
) -> tuple[State, jax.Array]:
    """Every step of the cell, the input's product being one over the whole time axis.

    - `reset_state`: what a reset goes back to; None where there are no resets.

    Returns the state after the last step, and every h [T, B, H].
    """
    state, (hs, _) = _run(cell, direction, params, state, reset_state, sequence, lambda saved: None)
    return state, hs


def forward_saving(
    cell: Cell, direction: Direction, params: Params, state: State, reset_state: State | None, sequence: Sequence
) -> tuple[State, tuple[jax.Array, Any]]:
    """`forward`, with what every step saved beside every h, and with zoneout every h as the cell made it."""
    return _run(cell, direction, params, state, reset_state, sequence, lambda saved: saved)


def forward_alone(
    cell: Cell, direction: Direction, params: Params, state: State, reset_state: State | None, sequence: Sequence
) -> tuple[State, jax.Array]:
    """`forward` where nothing is differentiated.

    On a CPU, while the weights stay in its caches, cells of several gates form x U step by step: then no [T, B, G·H] is
    written and read back, and the pointwise part reads z from where it was formed.
    """
    cached = jax.default_backend() == "cpu" and sum(leaf.nbytes for leaf in jax.tree.leaves(params)) < CACHED
    if sequence.xs is None or not cached or not _has_gates(cell, params, state, sequence.xs):
        return forward(cell, direction, params, state, reset_state, sequence)
    in_step = cell._replace(
        project=lambda params, xs: xs,
        step=lambda params, state, x: cell.step(params, state, cell.project(params, x)),
    )
    return forward(in_step, direction, params, state, reset_state, sequence)


def _run(cell, direction, params, state, reset_state, sequence, keep):
    xs, marks = sequence
    zs = None if xs is None else cell.project(params, xs)

    def step(state_before, at_t):
        z, marks = at_t
        entered = enter(marks, state_before, reset_state)
        made, saved = cell.step(params, entered, z)
        state, h = leave(marks, zoned(marks, made, entered), state_before)
        return state, (h, keep((saved, None if marks.stay is None else made.h)))

    return lax.scan(step, state, (zs, marks), length=direction.length, reverse=direction.reverse)


def _has_gates(cell, params, state, xs):
    return jax.eval_shape(cell.project, params, xs).shape[-1] > state.h.shape[-1]
