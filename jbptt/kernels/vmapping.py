"""Calls of kernels under `jax.vmap`: an axis of the arguments is one more batch axis, where the parameters have none;
where they have, the calls are made one by one, and so they are going back through a second axis.

What has a time axis has its batch axes behind it; a state has them first.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


def batchable_forward(call: Callable) -> Callable:
    """`call(params, state, reset_state, sequence) -> (state, *arrays with a time axis)`, under vmap too."""
    batchable = custom_vmap(call)

    @batchable.def_vmap
    def rule(size, batched, params, *others):
        if _any(batched[0]):
            return _one_by_one(batchable, size, batched, (params, *others))
        state, *arrays = batchable(params, *_joined(size, batched[1:], others, axes=(0, 0, 1)))
        return _all_batched((state, *(jnp.moveaxis(array, 1, 0) for array in arrays)))

    return batchable


def batchable_backward(one: Callable, many: Callable) -> Callable:
    """`one(params, state, reset_state, sequence, hs, saved, cs, dstate, dhs) -> (dparams, dstate, dreset_state, dxs)`.

    - `many`: the same where all but the parameters have one more batch axis, the first, and so have all results.
    """
    batchable, many = custom_vmap(one), custom_vmap(many)

    @many.def_vmap
    def rule_of_many(size, batched, *args):
        return _one_by_one(many, size, batched, args)

    @batchable.def_vmap
    def rule(size, batched, params, *others):
        if _any(batched[0]) or "p" in params:
            return _one_by_one(batchable, size, batched, (params, *others))
        joined = _joined(size, batched[1:], others, axes=(0, 0, 1, 1, 1, 1, 0, 1))
        *first, dxs = many(params, *joined)
        return _all_batched((*first, jnp.moveaxis(dxs, 1, 0)))

    return batchable


def _any(batched):
    return any(jax.tree.leaves(batched))


def _all_batched(results):
    return results, jax.tree.map(lambda _: True, results)


def _joined(size, batched, trees, axes):
    """Every leaf with the axis, at `axes`, one for each tree."""

    def joined(axis):
        def of_leaf(leaf, has):
            return jnp.moveaxis(leaf if has else jnp.broadcast_to(leaf, (size, *leaf.shape)), 0, axis)

        return of_leaf

    return [jax.tree.map(joined(axis), tree, has) for axis, tree, has in zip(axes, trees, batched, strict=True)]


def _one_by_one(call, size, batched, args):
    leaves, structure = jax.tree.flatten(args)
    flags = jax.tree.leaves(batched)

    def at(some: list[Any]):
        given = iter(some)
        return call(
            *jax.tree.unflatten(
                structure, [next(given) if has else leaf for leaf, has in zip(leaves, flags, strict=True)]
            )
        )

    return _all_batched(jax.lax.map(at, [leaf for leaf, has in zip(leaves, flags, strict=True) if has]))
