"""Backpropagation through time, derived by hand.

    δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)           ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ

No weight gradient is needed to go back in time. So the reverse scan carries ∂C/∂state (and the room that δ is written
into), and the weight gradients are one product over all T·B rows after it; `jax.grad` of the forward scan adds a
weight-sized product into its carry at every step instead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt.cells.cell import H_MASK, Kept, Params, State
from jbptt.hand_derived import HandDerived
from jbptt.recurrence.forward import Sequence, forward, forward_alone, forward_saving
from jbptt.recurrence.marks import enter_vjp, leave_vjp, plus, where, without_integers, zeros, zoned_vjp


class Residuals(NamedTuple):
    """What the way back needs: weights, inputs and marks, h before the first step and after a reset, every h, what
    every step saved, and with zoneout every h as the cell made it."""

    params: Params
    sequence: Sequence
    h_start: jax.Array
    reset_state: State | None
    hs: jax.Array
    saved: Any
    made: jax.Array | None


def bptt_fwd(cell, direction, params, state, reset_state, sequence):
    final, (hs, (saved, made)) = forward_saving(cell, direction, params, state, reset_state, sequence)
    return (final, hs), Residuals(params, sequence, state.h, reset_state, hs, saved, made)


def bptt_bwd(cell, direction, residuals, cotangents):
    params, (xs, marks), _, reset_state, hs, saved, made = residuals
    dstate, dhs = cotangents
    dstate = without_integers(dstate)
    if hs.size == 0:  # no step or an empty batch: nothing but the state passes through
        return None, dstate, None, None
    before = before_each_step(residuals, direction.reverse)
    kept = Kept(before, hs if made is None else made, saved)  # [T, B, H]
    way_back = cell.way_back(params)

    def step_back(carry, at_t):
        dstate, dreset_state = carry
        kept, dh, marks = at_t
        dstate, dstayed = leave_vjp(marks, dstate, dh)  # the cost at t, and through aᵗ every later one
        dmade, dzoned = zoned_vjp(marks, dstate)
        dstate, delta = cell.step_vjp(way_back, kept, dmade)
        dstate, dreset = enter_vjp(marks, plus(dstate, dzoned))
        if marks.valid is not None:  # not 0 times what the cell made of padding, which may be infinite
            dstate, delta = where(marks.valid, dstate, dstayed), where(marks.valid, delta, zeros(delta))
        return (dstate, None if dreset is None else plus(dreset_state, dreset)), delta

    start = dstate, None if reset_state is None else zeros(dstate)
    (dstate, dreset_state), deltas = _scan_back(step_back, start, (kept, dhs, marks), hs, not direction.reverse)
    dparams_of_inputs, dxs = ({}, None) if xs is None else cell.project_vjp(params, xs, deltas)
    dparams = cell.weight_vjp(params, kept, deltas) | dparams_of_inputs
    if xs is not None and (forgotten := params.keys() - dparams.keys() - {H_MASK}):
        raise ValueError(f"{cell.name}: neither project_vjp nor weight_vjp gives a gradient of {sorted(forgotten)}")
    dparams = {name: dparams.get(name) for name in params}  # None: a mask; a weight of inputs that there were not
    return dparams, dstate, dreset_state, Sequence(dxs, None)


def before_each_step(residuals, reverse):
    """Every aᵗ⁻¹, [T, B, H]: h before each step; aᵗ⁺¹ in reverse."""
    _, (_, marks), h_start, reset_state, hs, *_ = residuals

    def shifted(array, first):
        return jnp.concatenate([array[1:], first[None]] if reverse else [first[None], array[:-1]])

    h_prev = shifted(hs, h_start)
    if marks.valid is not None and reverse:  # what comes before a sequence's end is put out as 0, but is the start
        begun = shifted(marks.valid, jnp.zeros_like(marks.valid[0]))
        h_prev = where(begun, h_prev, jnp.broadcast_to(h_start, h_prev.shape))
    if marks.cut is not None:
        h_prev = where(marks.cut, lax.stop_gradient(h_prev), h_prev)  # for second derivatives
    if marks.reset is not None:
        h_prev = where(marks.reset, jnp.broadcast_to(reset_state.h, h_prev.shape), h_prev)
    return h_prev


def _scan_back(step_back, start, stacked, after, reverse):
    """`lax.scan(step_back, start, stacked, reverse=reverse)`, but what it stacks is not laid out before `after` is
    there.

    lax.scan begins its outputs as zeros, which wait for nothing: XLA's CPU scheduler fills them in before the forward
    pass, where they are one more [T, B, G·H] beside all the others, instead of in zs's place. Here the room for δ
    begins as a value of the forward pass, and is overwritten throughout.
    """
    one_step = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), stacked)
    _, delta = jax.eval_shape(step_back, start, one_step)
    value = lax.stop_gradient(after[(-1,) * after.ndim])
    rooms = jax.tree.map(lambda d: jnp.broadcast_to(value.astype(d.dtype), (after.shape[0], *d.shape)), delta)

    def step_into_rooms(carry_and_rooms, t_and_stacked):
        (carry, rooms), (t, at_t) = carry_and_rooms, t_and_stacked
        carry, delta = step_back(carry, at_t)
        return (carry, jax.tree.map(lambda room, d: lax.dynamic_update_index_in_dim(room, d, t, 0), rooms, delta)), None

    times = jnp.arange(after.shape[0])
    (carry, deltas), _ = lax.scan(step_into_rooms, (start, rooms), (times, stacked), reverse=reverse)
    return carry, deltas


recur = HandDerived(forward, bptt_fwd, bptt_bwd, static=2, alone=forward_alone)
"""recur(cell, direction, params, state, reset_state, sequence, vjp=...) -> (state, hs): `forward` with both backward
passes."""
