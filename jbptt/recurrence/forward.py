"""The recurrence forward: `lax.scan` over time. What "auto" differentiates, and "manual" runs."""

from typing import Any

import jax
from jax import lax

from jbptt.cells.cell import Cell, Params, State

CACHED = 2**23
"""Bytes of weights that a CPU's caches hold from one step to the next. Measured: benchmarks/NOTES.md."""


def forward(
    cell: Cell, length: int | None, params: Params, state: State, xs: jax.Array | None
) -> tuple[State, jax.Array]:
    """Every step of the cell.

    - `xs`: [T, B, I]; or None, and there are `length` steps without an input.

    Returns the state after the last step, and every h [T, B, H].
    """
    in_step = xs is not None and _projects_in_step(params)
    inputs = xs if in_step or xs is None else cell.project(params, xs)

    def step(state, at_t):
        state, _ = cell.step(params, state, cell.project(params, at_t) if in_step else at_t)
        return state, state.h

    return lax.scan(step, state, inputs, length=length)


def forward_saving(
    cell: Cell, length: int | None, params: Params, state: State, xs: jax.Array | None
) -> tuple[State, tuple[jax.Array, Any]]:
    """`forward`, with what every step saved beside every h: the input's product is one, over the whole time axis."""
    zs = None if xs is None else cell.project(params, xs)

    def step(state, z):
        state, saved = cell.step(params, state, z)
        return state, (state.h, saved)

    return lax.scan(step, state, zs, length=length)


def _projects_in_step(params):
    """Whether step by step is the faster way to form x U where nothing is saved: on a CPU, while the weights stay in
    its caches. Then no [T, B, G·H] is written and read back, and the pointwise part reads z from where it was formed.
    """
    return jax.default_backend() == "cpu" and sum(leaf.nbytes for leaf in jax.tree.leaves(params)) < CACHED
