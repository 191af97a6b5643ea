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
from jbptt.feedforward.layer import bias_gradient
from jbptt.hand_derived import HandDerived
from jbptt.recurrence.forward import forward, forward_saving


class Residuals(NamedTuple):
    """What the way back needs: the weights, h before the first step, every h, and what every step saved."""

    params: Params
    h_start: jax.Array
    hs: jax.Array
    saved: Any


def _bptt_fwd(cell, length, params, state, z):
    final, (hs, saved) = forward_saving(cell, length, params, state, z)
    return (final, hs), Residuals(params, state.h, hs, saved)


def _bptt_bwd(cell, length, residuals, cotangents):
    params, h_start, hs, saved = residuals
    dstate, dhs = cotangents
    kept = Kept(jnp.concatenate([h_start[None], hs])[:-1], hs, saved)  # [T, B, H]

    def step_back(dstate, at_t):
        kept, dh = at_t
        dstate = dstate._replace(h=dstate.h + dh)  # the cost at t, and through aᵗ every later one
        return cell.step_vjp(params, kept, dstate)

    dstate, dzs = lax.scan(step_back, dstate, (kept, dhs), reverse=True)
    dparams = cell.weight_vjp(params, kept, dzs)
    unused_by_step = {name: None for name in params if name not in dparams}
    return dparams | unused_by_step, dstate, dzs if length is None else bias_gradient(dzs)


recur = HandDerived(forward, _bptt_fwd, _bptt_bwd, static=2)
"""recur(cell, length, params, state, z, vjp=...) -> (state, hs): `forward` with both backward passes."""
