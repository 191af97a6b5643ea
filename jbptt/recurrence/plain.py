"""The recurrence as a plain scan: what every backend must give, and what JAX differentiates for vjp="auto"."""

import jax
from jax import lax

from jbptt.recurrence.inputs import Inputs, Outputs, SavedSteps, Spec
from jbptt.recurrence.step import step


def plain(spec: Spec, inputs: Inputs) -> Outputs:
    """Every step of the cell, the input's product being one over the whole time axis."""

    def one_step(state, at_t):
        state, h, _ = step(spec.rule, inputs, state, *at_t)
        return state, h

    zs = projected(spec, inputs)
    return Outputs(*lax.scan(one_step, inputs.state, (zs, inputs.masks), spec.length, spec.reverse))


def plain_residuals(spec: Spec, inputs: Inputs) -> tuple[Outputs, SavedSteps]:
    """`plain`, with what the backward pass needs of every step."""

    def one_step(state, at_t):
        state, h, saved = step(spec.rule, inputs, state, *at_t)
        return state, (h, saved)

    zs = projected(spec, inputs)
    state, (hs, saved) = lax.scan(one_step, inputs.state, (zs, inputs.masks), spec.length, spec.reverse)
    return Outputs(state, hs), saved


def projected(spec: Spec, inputs: Inputs) -> jax.Array | None:
    """x U of all times at once, [T, B, G·H]; None without inputs."""
    return None if inputs.xs is None else spec.rule.project(inputs.consts, inputs.xs)
