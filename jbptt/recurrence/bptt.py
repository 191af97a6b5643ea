"""Backpropagation through time, derived by hand.

    δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)           ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ

No weight gradient is needed to go back in time. So the reverse scan carries ∂C/∂state alone, and the weight
gradients are one product over all T·B rows after it; `jax.grad` of the forward scan adds a weight-sized
product into its carry at every step instead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt.cells.cell import Kept, Params
from jbptt.hand_derived import HandDerived
from jbptt.recurrence.forward import forward, forward_saving


class Residuals(NamedTuple):
    """What the way back needs: the weights, h before the first step, every h, and what every step saved."""

    params: Params
    h_start: jax.Array
    hs: jax.Array
    saved: Any


def _bptt_fwd(cell, length, params, state, zs):
    final, (hs, saved) = forward_saving(cell, length, params, state, zs)
    return (final, hs), Residuals(params, state.h, hs, saved)


def _bptt_bwd(cell, length, residuals, cotangents):
    params, h_start, hs, saved = residuals
    dstate, dhs = cotangents
    if hs.size == 0:  # no step or an empty batch: nothing but the state passes through
        return None, dstate, None
    kept = Kept(jnp.concatenate([h_start[None], hs])[:-1], hs, saved)  # [T, B, H]

    way_back = cell.way_back(params)

    def step_back(carry, at_t):
        dstate, dzs = carry
        t, kept, dh = at_t
        dstate = dstate._replace(h=dstate.h + dh)  # the cost at t, and through aᵗ every later one
        dstate, dz = cell.step_vjp(way_back, kept, dstate)
        return (dstate, lax.dynamic_update_index_in_dim(dzs, dz, t, 0)), None

    one_step = jax.tree.map(lambda stacked: jax.ShapeDtypeStruct(stacked.shape[1:], stacked.dtype), kept)
    _, dz = jax.eval_shape(cell.step_vjp, way_back, one_step, dstate)
    times = jnp.arange(hs.shape[0])
    (dstate, dzs), _ = lax.scan(step_back, (dstate, _room(dz, hs)), (times, kept, dhs), reverse=True)
    dparams = cell.weight_vjp(params, kept, dzs)
    unused_by_step = {name: None for name in params if name not in dparams}
    return dparams | unused_by_step, dstate, dzs if length is None else None


def _room(dz, hs):
    """[T, *dz.shape], to be overwritten throughout, and not made before the forward pass has made hs.

    As an output of lax.scan it would begin as zeros, which wait for nothing: XLA's CPU scheduler fills them in
    before the forward pass, where they are one more [T, B, G·H] beside all the others, instead of in zs's place.
    """
    return jnp.broadcast_to(lax.stop_gradient(hs[(-1,) * hs.ndim]), (hs.shape[0], *dz.shape))


recur = HandDerived(forward, _bptt_fwd, _bptt_bwd, static=2)
"""recur(cell, length, params, state, zs, vjp=...) -> (state, hs): `forward` with both backward passes."""
