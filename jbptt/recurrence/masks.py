"""What is done to the state between steps: steps that are none, episodes that begin, gradients that go no further,
noise.

    entering step t     where reset: the state that a reset goes back to;  where cut: no gradient goes back from here
    at step t           noise is added to z, whose δ it leaves as it is
    made at step t      where zoneout: units stay what they were as they entered
    leaving step t      where there is no step: the state stays what it was

Each has its vjp right below it. B batch (any number of batch axes, none included).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt._jax import types


class Masks(NamedTuple):
    """The masks of one step, or of all of them, with a time axis before the others. None: there are none.

    - `valid` [B]: there is this step. Elsewhere, before, between or after them, is padding.
    - `reset` [B]: the state entering this step is the one that a reset goes back to. False where not valid.
    - `cut` [] or [B]: no gradient goes from this step to the one before it.
    - `zoneout`: like the state, for every leaf, [B, H] of booleans, the units that stay what they were; or [], the part
      of every unit that stays.
    - `noise`: like z, [B, G·H], what is added to it.
    """

    valid: jax.Array | None = None
    reset: jax.Array | None = None
    cut: jax.Array | None = None
    zoneout: Any = None
    noise: jax.Array | None = None


def enter(masks: Masks, state: Any, reset_state: Any) -> Any:
    """The state that this step starts from."""
    if masks.cut is not None:
        state = where(masks.cut, lax.stop_gradient(state), state)
    return state if masks.reset is None else where(masks.reset, reset_state, state)


def enter_vjp(masks: Masks, dstate: Any) -> tuple[Any, Any]:
    """From ∂C/∂(what enter gave): (∂C/∂state, ∂C/∂reset_state, None without resets)."""
    dreset = None
    if masks.reset is not None:
        dreset = where(masks.reset, dstate, zeros(dstate))
        dstate = where(masks.reset, zeros(dstate), dstate)
    if masks.cut is not None:
        dstate = where(masks.cut, zeros(dstate), dstate)
    return dstate, dreset


def noisy(masks: Masks, z: Any) -> Any:
    """What the cell is given for z, None without an input. Its vjp is the identity."""
    return z if masks.noise is None else z + masks.noise


def hold(masks: Masks, made: Any, entered: Any) -> Any:
    """The state that the cell made, but for what stays as it entered (Krueger 2017)."""
    return made if masks.zoneout is None else _by_leaf(_mixed, masks.zoneout, entered, made)


def hold_vjp(masks: Masks, dstate: Any) -> tuple[Any, Any]:
    """From ∂C/∂(what hold gave): (∂C/∂made, ∂C/∂entered by what stayed, None if nothing does)."""
    if masks.zoneout is None:
        return dstate, None
    none = zeros(dstate)
    return _by_leaf(_mixed, masks.zoneout, none, dstate), _by_leaf(_mixed, masks.zoneout, dstate, none)


def leave(masks: Masks, made: Any, state_before: Any) -> Any:
    """The state after this step, from the one that the cell made and the one before the step."""
    return made if masks.valid is None else where(masks.valid, made, state_before)


def leave_vjp(masks: Masks, dstate: Any) -> tuple[Any, Any]:
    """From ∂C/∂(state after): (∂C/∂(state that the cell made), ∂C/∂(state before) where that stayed, None if it never
    does)."""
    return (dstate, None) if masks.valid is None else (where(masks.valid, dstate, zeros(dstate)), dstate)


def _by_leaf(function, zoneout, *states):
    """An integer's cotangent is None, and stays so."""
    leaves = [jax.tree.leaves(tree, is_leaf=_is_none) for tree in (zoneout, *states)]
    new = [None if values[0] is None else function(of_leaf, *values) for of_leaf, *values in zip(*leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(states[0], is_leaf=_is_none), new)


def _is_none(leaf):
    return leaf is None


def _mixed(stay, entered, made):
    if stay.dtype == bool:
        return where(stay, entered, made)
    stay = jnp.broadcast_to(stay, made.shape)
    return stay * entered + (1 - stay) * made


def where(mask: jax.Array, yes: Any, no: Any) -> Any:
    """`jnp.where` for pytrees: a mask [B], or [], for leaves [B, ...], as which it is sharded."""

    def choose(y, n):
        of_all = jnp.broadcast_to(jnp.expand_dims(mask, tuple(range(mask.ndim, y.ndim))), y.shape)
        return jnp.where(types.resharded(of_all, y, range(y.ndim)), y, n)

    return jax.tree.map(choose, yes, no)


def zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def add(tree: Any, other: Any) -> Any:
    """The sum of two pytrees, of which the second may be or have None in it, 0."""
    return jax.tree.map(lambda more, leaf: leaf if more is None else leaf + more, other, tree, is_leaf=_is_none)
