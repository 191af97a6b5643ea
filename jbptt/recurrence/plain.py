"""The recurrence as a plain scan: what every backend must give, and what JAX differentiates for vjp="auto"."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jbptt.cells.rule import State
from jbptt.recurrence.inputs import Inputs, Outputs, SavedSteps, Spec
from jbptt.recurrence.precision import as_computed
from jbptt.recurrence.step import step


def plain(spec: Spec, inputs: Inputs) -> Outputs:
    """Every step of the cell, the input's product being one over the whole time axis."""
    return scanned(spec, inputs, keep=lambda state, saved: None)[0]


def plain_residuals(spec: Spec, inputs: Inputs) -> tuple[Outputs, SavedSteps]:
    """`plain`, with what the backward pass needs of every step."""
    return scanned(spec, inputs, keep=lambda state, saved: saved)


def scanned(spec: Spec, inputs: Inputs, keep: Callable[[State, SavedSteps], Any]) -> tuple[Outputs, Any]:
    """(the outputs, what is kept of every step, stacked: [T, ...]).

    - `keep(state, saved)`: of the state after a step, and what the backward pass needs of the step.
    """

    def one_step(state, at_t):
        state, saved = step(spec.rule, inputs, state, *at_t)
        rest = state._replace(h=None) if spec.rest else None
        return state, (state.h, rest, keep(state, saved))

    inputs = as_computed(inputs)
    zs = projected(spec, inputs)
    state, (hs, rest, kept) = lax.scan(one_step, inputs.state, (zs, inputs.masks), spec.length, spec.reverse)
    return Outputs(state, hs, rest), kept


def projected(spec: Spec, inputs: Inputs) -> jax.Array | None:
    """x U of all times at once, [T, B, G·H]; None without inputs."""
    return None if inputs.xs is None else spec.rule.project(inputs.consts, inputs.xs)
