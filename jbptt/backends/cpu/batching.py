"""Calls of kernels under `jax.vmap`: an axis of the arguments is one more batch axis, the first, where the constants
have none; where they have, the calls are made one by one.

What has a time axis has its batch axes behind it; a state has them first.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jbptt.backends.cpu.calls import Saved
from jbptt.cells.rule import Consts
from jbptt.recurrence.inputs import Inputs, Outputs

NO_AXIS = -1


def _of_fields(kind: Any, **axes: int | None) -> Any:
    """Axes in the place of arrays."""
    return kind(**axes)


FIRST_BATCH_AXIS = {
    Inputs: _of_fields(Inputs, consts=0, state=0, xs=1, masks=1, reset_state=0),
    Outputs: _of_fields(Outputs, state=0, hs=1),
    Saved: _of_fields(Saved, gates=1, cs=1),
}
"""Where it is in each field."""


def has_axis(axes: Any) -> bool:
    """Whether any leaf has one."""
    return any(axis != NO_AXIS for axis in jax.tree.leaves(axes))


def joined(trees: tuple, axes: tuple, size: int) -> list:
    """Inputs, Outputs and Saved with the axis as the first of the batch; parameters, which have none, as they are."""

    def of_leaf(leaf, at, to):
        if at == NO_AXIS:
            return jnp.broadcast_to(jnp.expand_dims(leaf, to), (*leaf.shape[:to], size, *leaf.shape[to:]))
        return jnp.moveaxis(leaf, at, to)

    def of_tree(tree, axes):
        moved = jax.tree.map(of_leaf, tree, axes, first_batch_axis(tree))
        if not isinstance(tree, Inputs):
            return moved
        return moved._replace(consts=tree.consts._replace(h_mask=moved.consts.h_mask))

    return [of_tree(tree, of_tree_axes) for tree, of_tree_axes in zip(trees, axes, strict=True)]


def first_batch_axis(tree: Any) -> Any:
    """For every leaf of Inputs, Outputs or Saved, or of a tuple of them."""
    if type(tree) is tuple:
        return tuple(map(first_batch_axis, tree))
    return jax.tree.broadcast(FIRST_BATCH_AXIS[type(tree)], tree)


def for_each(function: Callable) -> Callable:
    """`function(inputs, outputs, saved, cotangents) -> Inputs` of cotangents, those of the constants for each of the
    first batch axis."""
    inputs, outputs, saved = (FIRST_BATCH_AXIS[kind] for kind in (Inputs, Outputs, Saved))
    shared = inputs._replace(consts=_of_fields(Consts, params=None, memory=None, h_mask=0))
    return jax.vmap(function, in_axes=(shared, outputs, saved, outputs), out_axes=inputs)


def one_by_one(function: Callable, args: tuple, axes: tuple) -> tuple[Any, Any]:
    """(the results stacked, their axes) of calls one after the other."""
    leaves, structure = jax.tree.flatten(args)
    of_leaves = jax.tree.leaves(axes)
    moving = [n for n, axis in enumerate(of_leaves) if axis != NO_AXIS]

    def one(given):
        replaced = dict(zip(moving, given, strict=True))
        return function(*jax.tree.unflatten(structure, [replaced.get(n, leaf) for n, leaf in enumerate(leaves)]))

    out = jax.lax.map(one, [jnp.moveaxis(leaves[n], of_leaves[n], 0) for n in moving])
    return out, jax.tree.map(lambda _: 0, out)
