"""The leaky recurrent network of neuroscience (Song 2016, Yang 2019): firing rates that follow their input with a time
constant, connections that are not there, and units that only excite or only inhibit (Dale's law).

zᵗ = U xᵗ + M(W) hᵗ⁻¹ + b     hᵗ = (1 − α) hᵗ⁻¹ + α f(zᵗ)     α = dt/τ     M(W) = mask ⊙ signs ⊙ |W|, or mask ⊙ W
δᵗ = α ∂C/∂hᵗ ⊙ f′(zᵗ)        ∂C/∂hᵗ⁻¹ = (1 − α) ∂C/∂hᵗ + M(W)ᵀ δᵗ
∂C/∂W = mask ⊙ signs ⊙ ±1 ⊙ Σ_t δᵗ (hᵗ⁻¹)ᵀ    −1 where W < 0    (without signs: mask ⊙ Σ_t δᵗ (hᵗ⁻¹)ᵀ)
"""

from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jbptt import checks
from jbptt._jax import types
from jbptt.cells.elman import RNNState
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.making import maker
from jbptt.cells.pieces import maker_name
from jbptt.cells.products import FULL, Product
from jbptt.cells.rule import Cell
from jbptt.feedforward.activations import Activation, check_activation, relu


class Wiring(NamedTuple):
    """Which connections there are, and their signs, as tuples: hashable.

    - `mask`: H rows of H booleans, or None.
    - `signs`: H of 1 and −1, or None.
    """

    mask: tuple[tuple[bool, ...], ...] | None
    signs: tuple[int, ...] | None

    def factors(self) -> np.ndarray:
        """mask ⊙ signs, [H, H] or what broadcasts to it."""
        mask = np.ones((1, 1)) if self.mask is None else np.array(self.mask, float)
        return mask if self.signs is None else mask * np.array(self.signs, float)[:, None]


def leaky_rnn_cell(
    activation: Activation = relu, *, alpha: float = 0.2, mask: Any = None, signs: Any = None, bias: bool = True
) -> Cell:
    """The leaky simple recurrent cell.

    - `activation`: f, a `jbptt.Activation`.
    - `alpha`: dt/τ, the time step over the time constant, above 0 and at most 1, where it is `rnn_cell`.
    - `mask`: [H, H] of booleans, or of 0 and 1, as W: mask[m, n] is False where unit n does not hear unit m.
    - `signs`: [H] of 1 and −1, the sign of all that a unit says to others: W is then taken by its size alone.
    - `bias`: whether `init` makes a "b".

    Noise at every step is `unroll`'s option: σ √(2/α) there is Song's σ. Parameters: "U" [I, H], "W" [H, H], "b" [H].
    State: h. With signs W starts such that what excites a unit and what inhibits it are equal in the mean. Raises
    TypeError for an activation without its f′, ValueError for a mask or signs of another shape or with other entries,
    and later for parameters of another H.
    """
    check_activation("activation", activation)
    if types.is_traced(alpha):
        raise TypeError("alpha must be a number, known before tracing: it makes the cell")
    checks.positive("alpha", alpha, 1)
    mask = _checked("mask", mask, "[H, H]", (0, 1))
    signs = _checked("signs", signs, "[H]", (-1, 1))
    if len({*(() if mask is None else mask.shape), *(() if signs is None else signs.shape)}) > 1:
        got = [None if array is None else list(array.shape) for array in (mask, signs)]
        raise ValueError(f"mask must have shape [H, H] and signs [H], got {got[0]} and {got[1]}")
    wiring = Wiring(
        None if mask is None else tuple(map(tuple, mask.astype(bool).tolist())),
        None if signs is None else tuple(signs.astype(int).tolist()),
    )
    return _leaky_rnn_cell(activation, float(alpha), wiring, checks.flag("bias", bias))


def _checked(name, array, symbols, entries):
    if array is None:
        return None
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} must have shape {symbols}: {error}") from None
    if array.ndim != symbols.count("H") or not array.size:
        raise ValueError(f"{name} must have shape {symbols}, H at least 1, got {list(array.shape)}")
    if not np.isin(array, entries).all():
        raise ValueError(f"{name} must be of {entries[0]} and {entries[1]}, got {np.setdiff1d(array, entries)[:3]}")
    return array


@maker  # whose arguments are numbers and tuples, which nobody changes
@cache
def _leaky_rnn_cell(activation, alpha, wiring, bias):
    keeps_output, product = activation.keeps == "output", _wired(wiring)

    def pointwise(params, z, hW, state):
        z = z + hW
        rate = activation(z)
        return RNNState((1 - alpha) * state.h + alpha * rate), rate if keeps_output else z

    def pointwise_vjp(params, residuals, dstate):
        return RNNState((1 - alpha) * dstate.h), alpha * dstate.h * activation.prime(residuals.saved)

    name = maker_name("leaky_rnn", activation=(activation.name, "relu"), alpha=(alpha, 0.2), bias=(bias, True))
    wired = [of_wiring for of_wiring in wiring._fields if getattr(wiring, of_wiring) is not None]
    return gated_cell(
        f"{name} with {' and '.join(wired)}" if wired else name,
        gates=1,
        state_type=RNNState,
        init=gated_init(1, bias=bias, product=product),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
        product=product,
        reference="Song 2016",
    )


def _wired(wiring: Wiring) -> Product:
    """The full product with M(W) in the place of W."""
    if wiring == Wiring(None, None):
        return FULL
    factors = wiring.factors()
    H = factors.shape[0]

    def shape(hidden_size, gates):
        if hidden_size != H:
            raise ValueError(f"hidden_size must be {H} as the cell's mask or signs have it, got {hidden_size}")
        return FULL.shape(hidden_size, gates)

    def used(W):
        return jnp.asarray(factors, W.dtype) * (W if wiring.signs is None else jnp.where(W < 0, -W, W))

    def gradient(h_prev, delta, W):
        dused = FULL.gradient(h_prev, delta, W)
        dW = jnp.asarray(factors, dused.dtype) * dused
        return dW if wiring.signs is None else jnp.where(W < 0, -dW, dW)  # at 0, too, a weight moves

    def init(key, hidden_size, gates, dtype):
        W = FULL.init(key, hidden_size, gates, dtype)
        if wiring.signs is not None:
            W = jnp.asarray(_balancing(factors), dtype) * W
        norms = jnp.sqrt(jnp.sum(used(W) ** 2, axis=0, keepdims=True))
        there = jnp.asarray(factors != 0, dtype)  # what is not there starts at 0, and stays
        return there * W / jnp.where(norms == 0, 1, norms)  # each unit hears a column as long as an orthogonal W's

    return FULL._replace(
        shape=shape,
        init=init,
        times=lambda h, W: FULL.times(h, used(W)),
        transposed=lambda W: FULL.transposed(used(W)),
        gradient=gradient,
    )


def _balancing(factors):
    """[H, H]: 1 over how many units of each sign a unit hears."""
    excite, inhibit = ((factors * sign > 0).sum(axis=0, keepdims=True) for sign in (1, -1))
    return 1 / np.maximum(np.where(factors > 0, excite, inhibit), 1)


leaky_rnn = leaky_rnn_cell()
