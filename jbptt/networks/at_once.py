"""Layers of one sequence that run at once: above each other, or in both directions.

T time, B batch (any number of batch axes, none included), H units.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt._jax import types
from jbptt.backends.cpu import together
from jbptt.backends.cpu.together import Together
from jbptt.cells.rule import Cell, Params, State
from jbptt.recurrence.inputs import Outputs, steps_of
from jbptt.unrolling import prepare

ONE_BY_ONE = {"checkpoint", "noise", "key"}
"""Options of `unroll` that no kernel has, or, a key, that layers draw with one after the other."""


class Part(NamedTuple):
    """One cell's arguments for `unroll`, but for xs."""

    cell: Cell
    params: Params
    state: State | None
    options: dict[str, Any]


def unroll_at_once(parts: Sequence[Part], xs: jax.Array, *, chained: bool) -> tuple[Outputs, ...] | None:
    """What each part's `unroll` gives, of the same xs, or, `chained`, of the hs of the part before it (which are None
    then but for the last's); None unless there are several and they are faster at once. Raises what `unroll` raises.
    """
    if len(parts) < 2 or not all(_by_a_kernel(part.options) for part in parts):
        return None
    xs = checks.array("xs", xs)
    if types.is_symbolic(xs) or not _is_long_and_alone(*steps_of(xs)):
        return None
    prepared = []
    for cell, params, state, options in parts:
        options = {name: value for name, value in options.items() if name not in ("vjp", "backend", "checkpoint")}
        prepared.append(prepare(cell, params, xs, state, **options))
        if chained:
            h = prepared[-1].inputs.state.h
            xs = jnp.zeros((*prepared[-1].inputs.steps, h.shape[-1]), h.dtype)  # like what will be
    at_once = Together(tuple(each.spec for each in prepared), chained)
    inputs = tuple(each.inputs for each in prepared)
    if not together.preferred(at_once, inputs):
        return None
    inputs = tuple(of._replace(xs=None) if chained and n else of for n, of in enumerate(inputs))
    came = zip(prepared, together.run(at_once, inputs), strict=True)
    return tuple(outputs if outputs.hs is None else each.put_out(outputs) for each, outputs in came)


def _is_long_and_alone(T=0, *batch):
    return T >= together.LEAST_STEPS and math.prod(batch) == 1


def _by_a_kernel(options):
    asked = {name for name, value in options.items() if value is not None and not _is_zero(value)}
    by_hand = options.get("vjp", "manual") == "manual"
    return by_hand and not asked & ONE_BY_ONE and options.get("backend") in (None, "cpu", "native")


def _is_zero(value):
    return isinstance(value, (int, float)) and value == 0
