"""One time step with its masks, and right below it its vjp; and what the vjp needs to know of every step's start.

B batch (any number of batch axes, none included), H units.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt.cells.rule import Consts, Rule, State, StepResiduals
from jbptt.recurrence.inputs import Inputs, SavedSteps
from jbptt.recurrence.masks import Masks, add, enter, enter_vjp, hold, hold_vjp, leave, leave_vjp, noisy, where, zeros


def step(
    rule: Rule, inputs: Inputs, state_before: State, z: jax.Array | None, masks: Masks
) -> tuple[State, SavedSteps]:
    """(the state after the step, what the backward pass needs)."""
    entered = enter(masks, state_before, inputs.reset_state)
    made, saved = rule.step(inputs.consts, entered, noisy(masks, z))
    state = leave(masks, hold(masks, made, entered), state_before)
    return state, SavedSteps(saved, None if masks.zoneout is None else made.h)


class StepCotangents(NamedTuple):
    """What goes back from step to step: ∂C/∂state, and the sum so far of ∂C/∂reset_state, None without resets."""

    state: State
    reset_state: State | None


def step_vjp(
    rule: Rule, weights: Consts, later: StepCotangents, dput_out: State, residuals: StepResiduals, masks: Masks
) -> tuple[StepCotangents, Any]:
    """(the cotangents before the step, δ), from those after it and ∂C/∂(what the step puts out), of a state whose
    fields are None where they are not put out."""
    dafter = add(later.state, dput_out)  # the cost at t, and through aᵗ every later one
    dmade, dstayed = leave_vjp(masks, dafter)
    dmade, dheld = hold_vjp(masks, dmade)
    dstate, delta = rule.step_vjp(weights, residuals, dmade)
    dstate, dreset = enter_vjp(masks, add(dstate, dheld))
    if masks.valid is not None:  # not 0 times what the cell made of padding, which may be infinite
        dstate, delta = where(masks.valid, dstate, dstayed), where(masks.valid, delta, zeros(delta))
    return StepCotangents(dstate, None if dreset is None else add(later.reset_state, dreset)), delta


def before_each_step(
    array: jax.Array, first: jax.Array, reset: jax.Array | None, masks: Masks, reverse: bool
) -> jax.Array:
    """aᵗ⁻¹ at every t, [T, B, H], from aᵗ: what enters each step; aᵗ⁺¹ in reverse.

    - `first`: what enters the first step, [B, H].
    - `reset`: what a reset goes back to, [B, H]; None where there are none.
    """
    before = jnp.concatenate([array[1:], first[None]] if reverse else [first[None], array[:-1]])
    if masks.cut is not None:
        before = where(masks.cut, lax.stop_gradient(before), before)  # for second derivatives
    if masks.reset is not None:
        assert reset is not None
        before = where(masks.reset, jnp.broadcast_to(reset, before.shape), before)
    return before
