"""A call of a kernel as JAX sees it: with a rule of its own for each transformation, and the scan beside it."""

from collections.abc import Callable
from typing import Any

import jax

from jbptt._jax import calls
from jbptt.backends.cpu.batching import NO_AXIS


def call_kernel(by_kernel: Callable, by_scan: Callable, derivative: Callable, batched: Callable, args: tuple) -> Any:
    """`by_kernel(*args)`; `by_scan(*args)` where the program is not one CPU's own.

    - `derivative(*args)`: what JAX differentiates in its place; of the last results it may leave out those that have no
      tangent.
    - `batched(args, axes, size) -> (out, axes of out)`: under `jax.vmap`; an axis is `NO_AXIS` where there is none.
    """
    leaves, structure = jax.tree.flatten(args)
    out_structure = jax.tree.structure(jax.eval_shape(by_kernel, *args))

    def flat(function):
        return lambda *leaves: jax.tree.leaves(function(*jax.tree.unflatten(structure, leaves)))

    def jvp(leaves, tangents):
        moving = [n for n, tangent in enumerate(tangents) if tangent is not None]

        def of_moving(*values):
            replaced = dict(zip(moving, values, strict=True))
            return flat(derivative)(*[replaced.get(n, leaf) for n, leaf in enumerate(leaves)])

        outs = calls.call_by_rules(rules, leaves)
        _, moved = jax.jvp(of_moving, [leaves[n] for n in moving], [tangents[n] for n in moving])
        return outs, [*moved, *[None] * (len(outs) - len(moved))]

    def batch(leaves, axes, names):
        axes = [NO_AXIS if axis is None else axis for axis in axes]
        out, axes = batched(
            jax.tree.unflatten(structure, leaves), jax.tree.unflatten(structure, axes), names["axis_size"]
        )
        return jax.tree.leaves(out), jax.tree.leaves(axes)

    rules = calls.Rules(evaluate=flat(by_scan), jvp=jvp, batch=batch, on_cpu=flat(by_kernel))
    return jax.tree.unflatten(out_structure, calls.call_by_rules(rules, leaves))
