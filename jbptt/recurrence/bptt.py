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

from jbptt.cells.cell import Kept, Params
from jbptt.hand_derived import HandDerived
from jbptt.recurrence.forward import forward, forward_saving


class Residuals(NamedTuple):
    """What the way back needs: weights and inputs, h before the first step, every h, and what every step saved."""

    params: Params
    xs: jax.Array | None
    h_start: jax.Array
    hs: jax.Array
    saved: Any


def _bptt_fwd(cell, length, params, state, xs):
    final, (hs, saved) = forward_saving(cell, length, params, state, xs)
    return (final, hs), Residuals(params, xs, state.h, hs, saved)


def _bptt_bwd(cell, length, residuals, cotangents):
    params, xs, h_start, hs, saved = residuals
    dstate, dhs = cotangents
    dstate = jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, dstate)  # an integer has no gradient
    if hs.size == 0:  # no step or an empty batch: nothing but the state passes through
        return None, dstate, None
    kept = Kept(jnp.concatenate([h_start[None], hs[:-1]]), hs, saved)  # [T, B, H]
    way_back = cell.way_back(params)

    def step_back(dstate, at_t):
        kept, dh = at_t
        dstate = dstate._replace(h=dstate.h + dh)  # the cost at t, and through aᵗ every later one
        return cell.step_vjp(way_back, kept, dstate)

    dstate, deltas = _scan_back(step_back, dstate, (kept, dhs), after=hs)
    dparams_of_inputs, dxs = ({}, None) if xs is None else cell.project_vjp(params, xs, deltas)
    dparams = cell.weight_vjp(params, kept, deltas) | dparams_of_inputs
    return {name: dparams.get(name) for name in params}, dstate, dxs  # None: a weight of inputs that there were not


def _scan_back(step_back, dstate, stacked, after):
    """`lax.scan(step_back, dstate, stacked, reverse=True)`, but what it stacks is not laid out before `after` is there.

    lax.scan begins its outputs as zeros, which wait for nothing: XLA's CPU scheduler fills them in before the forward
    pass, where they are one more [T, B, G·H] beside all the others, instead of in zs's place. Here the room for δ
    begins as a value of the forward pass, and is overwritten throughout.
    """
    one_step = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), stacked)
    _, delta = jax.eval_shape(step_back, dstate, one_step)
    value = lax.stop_gradient(after[(-1,) * after.ndim])
    rooms = jax.tree.map(lambda d: jnp.broadcast_to(value.astype(d.dtype), (after.shape[0], *d.shape)), delta)

    def step_into_rooms(carry, t_and_stacked):
        dstate, rooms = carry
        t, at_t = t_and_stacked
        dstate, delta = step_back(dstate, at_t)
        return (
            dstate,
            jax.tree.map(lambda room, d: lax.dynamic_update_index_in_dim(room, d, t, 0), rooms, delta),
        ), None

    times = jnp.arange(after.shape[0])
    (dstate, deltas), _ = lax.scan(step_into_rooms, (dstate, rooms), (times, stacked), reverse=True)
    return dstate, deltas


recur = HandDerived(forward, _bptt_fwd, _bptt_bwd, static=2)
"""recur(cell, length, params, state, xs, vjp=...) -> (state, hs): `forward` with both backward passes."""
