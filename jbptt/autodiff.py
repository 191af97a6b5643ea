"""One mechanism chooses who differentiates a function: we by hand ("manual"), or JAX ("auto").

Whatever has a backward pass of its own is a `HandDerived`. "auto" is its forward as a plain function, JAX's derivative
all the way down. "manual" is the same function with a derivative of two halves:

    tangents of the arguments    --  JAX's derivative of the plain function  -->  tangents of the result
    cotangents of the arguments  <--  the backward pass, derived by hand  --       cotangents of the result

Going forward, JAX runs the one half; transposing, as `jax.grad` does, the other. So the backward pass is written once,
and serves every transformation. (Differentiated again, the tangent half is JAX's own; so reverse over forward is by
hand in part, forward over reverse throughout.)

Everything is compiled once for equal static arguments and equal shapes, outside `jax.jit` too.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jbptt._jax import calls, types

Vjp = Literal["manual", "auto"]

VJPS = ("manual", "auto")


def check_vjp(vjp: str) -> None:
    """Raises ValueError unless `vjp` names one of the two backward passes."""
    if not isinstance(vjp, str) or vjp not in VJPS:
        raise ValueError(
            f"vjp must be one of {VJPS}, got {vjp!r}: 'manual' is the hand-derived backward pass, "
            "'auto' is jax.grad's of the same forward"
        )


class Residuals(NamedTuple):
    """What a backward pass is given beside the cotangents.

    - `args`: the arguments that are differentiated.
    - `out`: the result, if it is kept; else None.
    - `saved`: what the forward pass kept beside them.
    """

    args: tuple
    out: Any
    saved: Any


class HandDerived:
    """A function with two backward passes.

    - `primal(*static, *args) -> out`: the forward.
    - `forward_residuals(*static, *args) -> (out, saved)`: the forward that keeps what the backward needs.
    - `backward(*static, residuals, cotangents) -> dargs`: the hand-derived backward, from `Residuals`, each in any
      floating dtype; the cotangent of an integer, there and here, is None, and so may be that of anything that has no
      gradient.
    - `static`: how many leading arguments are not differentiated (hashable: functions, cells, lengths).
    - `forward`: `primal` in the form that is fastest where nothing is differentiated, if that is another.
    - `keeps_out`: whether the backward is given the result.
    - `narrowed(*static, perturbed) -> static`: the static arguments of `forward_residuals` and `backward` where
      cotangents are wanted of some arguments only; `perturbed` is like `args`, of booleans.

    Called with `vjp="manual"` or `"auto"`; raises ValueError for any other `vjp`.
    """

    def __init__(
        self,
        primal: Callable,
        forward_residuals: Callable,
        backward: Callable,
        *,
        static: int = 0,
        forward: Callable | None = None,
        keeps_out: bool = False,
        narrowed: Callable | None = None,
    ):
        self._backward = backward
        self._number_static = static
        self._keeps_out = keeps_out
        self._narrowed = narrowed or (lambda *static_and_perturbed: static_and_perturbed[:-1])
        compiled = partial(jax.jit, static_argnums=tuple(range(static)))
        self._plain = compiled(primal)  # not inlined: of a whole call JAX's derivative, too, is compiled once
        self._forward_residuals = compiled(forward_residuals, inline=True)
        self._forward = compiled(primal if forward is None else forward, inline=True)
        self._tangents_of = jax.jit(self._tangents, static_argnums=0, inline=True)
        self._cotangents_of = jax.jit(self._cotangents, static_argnums=0, inline=True)

    def __call__(self, *args: Any, vjp: str) -> Any:
        check_vjp(vjp)
        static, args = args[: self._number_static], types.equally_varying(args[self._number_static :])
        return self._plain(*static, *args) if vjp == "auto" else self._by_hand(static, args)

    def _by_hand(self, static, args):
        leaves, structure = jax.tree.flatten(args)
        out_structures = []

        def evaluate(*leaves):
            outs, out_structure = jax.tree.flatten(self._forward(*static, *jax.tree.unflatten(structure, leaves)))
            out_structures.append(out_structure)
            return outs

        def transpose(operands, cotangents):
            linear = [n for n, operand in enumerate(operands) if calls.is_linear(operand)]

            def plain(*given):
                args = jax.tree.unflatten(structure, _replaced(operands, linear, given))
                return jax.tree.leaves(self._plain(*static, *args))

            return jax.linear_transpose(plain, *[operands[n] for n in linear])(list(cotangents))

        def jvp(leaves, tangents):
            out, tangents = self._jvp(static, jax.tree.unflatten(structure, leaves), tangents)
            outs, out_structure = jax.tree.flatten(out)
            out_structures.append(out_structure)
            return outs, tangents

        rules = calls.Rules(evaluate, jvp, transpose)
        outs = calls.call_by_rules(rules, leaves)
        return jax.tree.unflatten(out_structures[0], outs)

    def _jvp(self, static, args, tangents):
        """(the result, the tangents of its leaves)"""
        moving = tuple(n for n, tangent in enumerate(tangents) if tangent is not None)
        perturbed = jax.tree.unflatten(jax.tree.structure(args), [tangent is not None for tangent in tangents])
        static = self._narrowed(*static, perturbed)
        out, saved = self._forward_residuals(*static, *args)
        known, structure = jax.tree.flatten(Residuals(args, out if self._keeps_out else None, saved))
        outs, out_structure = jax.tree.flatten(out)
        real = tuple(map(_is_real, outs))
        linear = _Linear(self, static, structure, moving, out_structure, real)
        moved = iter(linear(known, [tangents[n] for n in moving]))
        return out, [next(moved) if is_real else None for is_real in real]

    def _tangents(self, linear, known, tangents):
        """The half that goes forward: JAX's derivative of the plain function."""
        leaves, structure = jax.tree.flatten(jax.tree.unflatten(linear.structure, known).args)

        def plain(moved):
            out = self._plain(*linear.static, *jax.tree.unflatten(structure, _replaced(leaves, linear.moving, moved)))
            return [leaf for leaf in jax.tree.leaves(out) if _is_real(leaf)]

        return jax.jvp(plain, ([leaves[n] for n in linear.moving],), (list(tangents),))[1]

    def _cotangents(self, linear, known, cotangents):
        """The half that goes backward: the hand-derived pass."""
        residuals = jax.tree.unflatten(linear.structure, known)
        given = iter(cotangents)
        cotangents = jax.tree.unflatten(
            linear.out_structure, [next(given) if is_real else None for is_real in linear.real]
        )
        dargs = self._backward(*linear.static, residuals, cotangents)
        gradients = jax.tree.leaves(jax.tree.map(_gradient, dargs, residuals.args, is_leaf=_is_none))
        return [gradients[n] for n in linear.moving]


class _Linear(NamedTuple):
    """The derivative of a `HandDerived` at `known` arrays, the leaves of its `Residuals`: from the tangents of those of
    its arguments' leaves that are `moving` to those of its results' leaves that are `real`."""

    of: HandDerived
    static: tuple
    structure: Any
    moving: tuple[int, ...]
    out_structure: Any
    real: tuple[bool, ...]

    def __call__(self, known, tangents):
        return calls.call_by_rules(calls.Rules(self.evaluate, self.jvp, self.transpose), [*known, *tangents])

    def evaluate(self, *operands):
        return self.of._tangents_of(self, *self.parts(operands))

    def parts(self, operands):
        """(known, tangents)"""
        return list(operands[: self.structure.num_leaves]), list(operands[self.structure.num_leaves :])

    def jvp(self, operands, moves):
        """Linear in the tangents; what the known arrays' own tangents do is JAX's derivative of the forward half."""
        (known, tangents), (known_moves, tangent_moves) = self.parts(operands), self.parts(moves)
        out, parts = self(known, tangents), []
        if any(move is not None for move in tangent_moves):
            pairs = zip(tangents, tangent_moves, strict=True)
            parts.append(self(known, [jnp.zeros_like(t) if move is None else move for t, move in pairs]))
        moving = [n for n, move in enumerate(known_moves) if move is not None]
        if moving:

            def of_known(moved):
                return self.evaluate(*_replaced(known, moving, moved), *tangents)

            primals, moves = [known[n] for n in moving], [known_moves[n] for n in moving]
            parts.append(jax.jvp(of_known, (primals,), (moves,))[1])
        return out, [reduce(jnp.add, moves) for moves in zip(*parts, strict=True)]

    def transpose(self, operands, cotangents):
        known, tangents = self.parts(operands)
        gradients = self.of._cotangents_of(self, known, list(cotangents))
        return [gradient for gradient, tangent in zip(gradients, tangents, strict=True) if calls.is_linear(tangent)]


def _replaced(values, numbers, new):
    values = list(values)
    for n, value in zip(numbers, new, strict=True):
        values[n] = value
    return values


def _gradient(gradient, arg):
    """The gradient of a leaf, in its dtype, whatever it was summed in; zeros, of all that is there, for None. Raises
    ValueError if it is not like the leaf."""
    if gradient is None:
        return jax.tree.map(jnp.zeros_like, arg)
    if gradient.shape != arg.shape or not (_is_real(gradient) and _is_real(arg)):
        want, got = (f"{value.dtype}{list(value.shape)}" for value in (arg, gradient))
        raise ValueError(f"a hand-derived backward pass gave a gradient of {got} for an argument of {want}")
    return gradient.astype(arg.dtype)


def _is_none(leaf):
    return leaf is None


def _is_real(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
