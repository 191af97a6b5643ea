"""Forward mode for what is differentiated backward by hand: `jax.jvp`, and all that is made of it.

`jax.custom_vjp` knows one direction only. Here its rule is handed to JAX as one half of a linear function:

    tangents of the arguments    --  tangent: JAX's derivative of the plain function  -->  tangents of the result
    cotangents of the arguments  <--  transpose: the custom_vjp's rule, by hand  --        cotangents of the result

A `custom_jvp` puts that function, a primitive of its own, in the derivative's place. Going forward, JAX runs the one
half; transposing, as `jax.grad` does, the other. So the backward pass is written once, and `jax.grad` compiles what it
would compile of the custom_vjp alone. (Differentiated again, the tangent half is JAX's own, in its residuals; so
reverse over forward is by hand in part, forward over reverse throughout.)
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Halves(NamedTuple):
    """A linear function and its transpose, each given what is `known`: lists of arrays in, a list of arrays out.

    - `tangent(known, tangents)`, `transpose(known, cotangents)`.
    """

    tangent: Callable[[list, list], list]
    transpose: Callable[[list, list], list]


def with_forward_mode(reverse_only: jax.custom_vjp, primal: Callable, static: int) -> jax.custom_jvp:
    """`reverse_only`, differentiable in both directions.

    - `primal`: the same function, as one that JAX differentiates.
    - `static`: how many leading arguments are not differentiated.
    """
    both = jax.custom_jvp(reverse_only, nondiff_argnums=tuple(range(static)))

    def rule(*static_and_args):
        *fixed, args, tangents = static_and_args
        real_outs, vjp, (outs, structure) = jax.vjp(_split(partial(reverse_only, *fixed)), *args, has_aux=True)
        got = iter(_tangents(_split(partial(primal, *fixed)), vjp, args, tangents, real_outs))
        every = [next(got) if _is_real(out) else SymbolicZero(jax.typeof(out).to_tangent_aval()) for out in outs]
        return jax.tree.unflatten(structure, outs), jax.tree.unflatten(structure, every)

    both.defjvp(rule, symbolic_zeros=True)
    return both


def _split(function):
    """The leaves of what it gives that have a tangent; and aside all leaves and their structure."""

    def split(*args):
        outs, structure = jax.tree.flatten(function(*args))
        return [out for out in outs if _is_real(out)], (outs, structure)

    return split


def _is_real(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _tangents(primal, vjp, args, tangents, outs):
    """Of `outs` = primal(*args)[0]. `vjp` gives cotangents in the order of the leaves of `args`."""
    leaves, structure = jax.tree.flatten(args)
    tangents = jax.tree.leaves(tangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    moving = [n for n, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]
    residuals, vjp_structure = jax.tree.flatten(vjp)

    def tangent(known, tangents):
        def of_leaves(leaves):
            outs, _ = primal(*jax.tree.unflatten(structure, leaves))
            return outs

        return _tangent_of(of_leaves, known[len(residuals) :], moving, tangents)

    def transpose(known, cotangents):
        vjp = jax.tree.unflatten(vjp_structure, known[: len(residuals)])
        gradients = jax.tree.leaves(vjp(list(cotangents)))
        return [gradients[n] for n in moving]

    known = [*residuals, *leaves]
    return tangent_p.bind(
        *known,
        *[tangents[n] for n in moving],
        known=len(known),
        halves=Halves(tangent, transpose),
        types=tuple(map(jax.typeof, outs)),
    )


def _tangent_of(function, values, moving, tangents):
    """JAX's derivative of function(values), of which those numbered `moving` have these tangents."""
    return jax.jvp(
        lambda moved: function(_replaced(values, moving, moved)), ([values[n] for n in moving],), (list(tangents),)
    )[1]


def _replaced(values, numbers, new):
    values = list(values)
    for n, value in zip(numbers, new, strict=True):
        values[n] = value
    return values


tangent_p = Primitive("hand_derived_tangent")
"""Operands: `known` arrays, then the tangents that it is linear in. `types`: of its results."""
tangent_p.multiple_results = True


def _evaluated(*operands, known, halves, types):
    return halves.tangent(list(operands[:known]), list(operands[known:]))


def _types(*operands, known, halves, types):
    return types


def _jvp(operands, moves, *, known, halves, types):
    """Linear in the tangents; what the known arrays' own tangents do is JAX's derivative of the forward half."""
    bind = partial(tangent_p.bind, known=known, halves=halves, types=types)
    out = bind(*operands)
    parts = []
    if any(type(move) is not ad.Zero for move in moves[known:]):
        parts.append(bind(*operands[:known], *map(ad.instantiate_zeros, moves[known:])))
    moving = [n for n in range(known) if type(moves[n]) is not ad.Zero]
    if moving:

        def tangent(values):
            return halves.tangent(values, list(operands[known:]))

        parts.append(_tangent_of(tangent, operands[:known], moving, [moves[n] for n in moving]))
    return out, [reduce(jnp.add, tangents) for tangents in zip(*parts, strict=True)]


def _transpose(cotangents, *operands, known, halves, types):
    gradients = halves.transpose(list(operands[:known]), [ad.instantiate_zeros(ct) for ct in cotangents])
    wanted = map(ad.is_undefined_primal, operands[known:])
    return [None] * known + [g if is_wanted else None for g, is_wanted in zip(gradients, wanted, strict=True)]


def _batched(axis, operands, axes, *, known, halves, types):
    """Both halves under `jax.vmap`. Every tangent gets the axis, so that the sum over it, on the way back, is JAX's."""
    if all(at is None for at in axes):
        return tangent_p.bind(*operands, known=known, halves=halves, types=types), [None] * len(types)
    tangents = [
        jnp.broadcast_to(operand, (axis.size, *operand.shape)) if at is None else jnp.moveaxis(operand, at, 0)
        for operand, at in zip(operands[known:], axes[known:], strict=True)
    ]
    names = {"axis_size": axis.size, "axis_name": axis.name, "spmd_axis_name": axis.spmd_name}
    halves = Halves(*(jax.vmap(half, in_axes=(list(axes[:known]), 0), **names) for half in halves))
    types = tuple(type_.update(shape=(axis.size, *type_.shape)) for type_ in types)
    out = tangent_p.bind(*operands[:known], *tangents, known=known, halves=halves, types=types)
    return out, [0] * len(out)


tangent_p.def_impl(_evaluated)
tangent_p.def_abstract_eval(_types)
ad.primitive_jvps[tangent_p] = _jvp
ad.primitive_transposes[tangent_p] = _transpose
batching.fancy_primitive_batchers[tangent_p] = _batched  # told the axis, which may have a name
mlir.register_lowering(tangent_p, mlir.lower_fun(_evaluated, multiple_results=True))
