"""The clockwork recurrent network (Koutník 2014): modules of units, each with a period of its own.

    aᵗ = f(U xᵗ + W aᵗ⁻¹ + b) in the modules whose period divides t, counted from 0;   aᵗ = aᵗ⁻¹ in all others
    δᵗ = ∂C/∂aᵗ ⊙ f′(zᵗ) where it worked, 0 elsewhere       ∂C/∂aᵗ⁻¹ = Wᵀ δᵗ + ∂C/∂aᵗ where it did not
    ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ, where W is not zero

A module sees itself and those as slow or slower: W[j, k], from unit j to unit k, is zero where j is faster than k. The
state counts time, so that a sequence that is cut and carried on keeps its clocks.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.making import maker
from jbptt.cells.pieces import checked_start
from jbptt.cells.products import FULL, Product
from jbptt.cells.rule import NO_COTANGENT, Cell
from jbptt.feedforward.activations import Activation, check_activation, tanh


class ClockworkState(NamedTuple):
    """h [B, H]; t [B], int32: how many steps have been taken."""

    h: jax.Array
    t: jax.Array


@maker
def clockwork_cell(
    periods: tuple[int, ...] = (1, 2, 4, 8), activation: Activation = tanh, *, bias: bool = True
) -> Cell:
    """The clockwork cell.

    - `periods`: one for each module; the modules share H evenly.
    - `activation`: f, a `jbptt.Activation` whose f′ is stated in f(z).
    - `bias`: whether `init` makes a "b".

    Parameters: "U" [I, H], "W" [H, H], of which what lies from faster to slower units is never used, "b" [H]. State:
    h, t. Raises ValueError for no periods, periods below 1 and an f′ stated in z, TypeError for what is not an int and
    for an activation without its f′.
    """
    check_activation("activation", activation)
    if activation.keeps != "output":
        raise ValueError(f"activation {activation.name} must have its f′ stated in f(z): a module at rest has no z")
    if not isinstance(periods, (tuple, list)) or not periods:
        raise ValueError(f"periods must be a tuple of ints, one for each module, got {periods!r}")
    for period in periods:
        checks.size("periods", period)  # and t is an int32
    return _clockwork_cell(tuple(map(int, periods)), activation, checks.flag("bias", bias))


@cache
def _clockwork_cell(periods, activation, bias):
    product = from_slow_to_fast(periods)

    def pointwise(params, z, hW, state):
        of_units = jnp.broadcast_to(jnp.asarray(spread(periods, z.shape[-1]), jnp.int32), z.shape)
        active = jnp.broadcast_to(state.t[..., None], z.shape) % of_units == 0  # [B, H]
        return ClockworkState(jnp.where(active, activation(z + hW), state.h), state.t + 1), active

    def pointwise_vjp(params, residuals, dstate):
        active, dh = residuals.saved, dstate.h
        delta = jnp.where(active, dh * activation.prime(residuals.h), jnp.zeros_like(dh))
        return ClockworkState(jnp.where(active, jnp.zeros_like(dh), dh), NO_COTANGENT), delta

    def initial_state(params, batch_shape):
        U, batch = checked_start("clockwork", params, batch_shape)
        return ClockworkState(jnp.zeros((*batch, U.shape[1]), U.dtype), jnp.zeros(batch, jnp.int32))

    cell = gated_cell(
        "clockwork",
        gates=1,
        state_type=ClockworkState,
        init=gated_init(1, bias=bias, product=product),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
        product=product,
        reference="Koutník 2014",
    )
    return cell._replace(initial_state=initial_state)


def spread(periods: tuple[int, ...], hidden_size: int) -> np.ndarray:
    """Every unit's period, [H]."""
    return np.repeat(periods, hidden_size // len(periods))


@cache
def from_slow_to_fast(periods: tuple[int, ...]) -> Product:
    """The full product without the weights from faster to slower units."""

    def shape(hidden_size, gates):
        if hidden_size % len(periods):
            raise ValueError(f"hidden_size must be a multiple of the {len(periods)} modules, got {hidden_size}")
        return FULL.shape(hidden_size, gates)

    def used(W):
        of_units = spread(periods, W.shape[0])
        return jnp.where(of_units[:, None] >= of_units[None, :], W, jnp.zeros_like(W))

    return FULL._replace(
        shape=shape,
        init=lambda *sizes: used(FULL.init(*sizes)),
        times=lambda h, W: FULL.times(h, used(W)),
        transposed=lambda W: FULL.transposed(used(W)),
        gradient=lambda h_prev, delta, W: used(FULL.gradient(h_prev, delta, W)),
    )


clockwork = clockwork_cell()
