"""A whole recurrence in one call of a C++ kernel, forward and back: products with the inputs and the weights' gradients
among it. The kernels are in backends/cpu/; forward.h and backward.h say how they are laid out.

T time, B batch, I inputs, H units, G gates.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jbptt.backends.cpu.library import Library, loaded
from jbptt.cells.cell import H_MASK, Cell, Params, State, own_functions
from jbptt.hand_derived import HandDerived
from jbptt.kernels.vmapping import batchable_backward, batchable_forward
from jbptt.recurrence import bptt
from jbptt.recurrence.bptt import before_each_step, recur
from jbptt.recurrence.forward import Direction, Sequence, forward
from jbptt.recurrence.marks import without_integers

NOTHING = (0,)
"""The shape of what there is not."""

VALID, RESET = 1, 2
"""Bits of the kernels' marks."""

MOST_ROWS = 2**31 - 2**12
"""T·B, which the kernels count in 32 bits."""

LEAST_ROWS, LARGEST_ALONE = 512, 2**20
"""T·B, and the bytes of weights for B = 1."""


class Native(NamedTuple):
    """What is fixed of a call: the kernels, the cell and the direction."""

    library: Library
    cell: Cell
    reverse: bool

    @property
    def kind(self):
        return self.library.kinds[self.cell.kernel.kind]


class Residuals(NamedTuple):
    """What the way back needs: the arguments, every h, and what the kernel kept of every step."""

    args: tuple
    hs: jax.Array
    saved: jax.Array
    cs: jax.Array


def why_not(cell: Cell, params: Params, sequence: Sequence) -> str | None:
    """Why the native backend cannot run this; None if it can."""
    xs, marks = sequence
    if cell.kernel is None or cell.kernel.runs != own_functions(cell):
        return f"there is no kernel for {cell.name}"
    if xs.dtype != jnp.float32:
        return f"the kernels are for float32, and xs are {xs.dtype}"
    if math.prod(xs.shape[:-1]) >= MOST_ROWS:
        return f"the kernels count T·B in 32 bits, and xs are {list(xs.shape)}"
    if H_MASK in params or marks.cut is not None or marks.stay is not None:
        return "the kernels have no truncation, dropout or zoneout"
    if jax.default_backend() != "cpu":
        return f"JAX's default backend is {jax.default_backend()}, and these are kernels for the CPU"
    library = loaded()
    return library if isinstance(library, str) else None


def worth_it(params: Params, sequence: Sequence) -> bool:
    """Whether a kernel is faster than the scan, as measured: benchmarks/NOTES.md.

    Weights are packed anew at each call, which a few rows do not repay; and a sequence by itself has one thread, which
    is not enough for weights beyond its cache.
    """
    T, *batch, _ = sequence.xs.shape
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return T * math.prod(batch) >= LEAST_ROWS and (math.prod(batch) > 1 or weights <= LARGEST_ALONE)


def recur_native(
    cell: Cell,
    direction: Direction,
    params: Params,
    state: State,
    reset_state: State | None,
    sequence: Sequence,
) -> tuple[State, jax.Array]:
    """As `recur(..., vjp="manual")`, by a kernel, where `why_not` gives no reason."""
    if sequence.xs.size == 0 or state.h.size == 0:
        return recur(cell, direction, params, state, reset_state, sequence, vjp="manual")
    native = Native(loaded(), cell, direction.reverse)
    return _recur(native, params, state, reset_state, sequence, vjp="manual")


def _plain(native, params, state, reset_state, sequence):
    return forward(native.cell, Direction(reverse=native.reverse), params, state, reset_state, sequence)


def _alone(native, *args):
    return _forward(native, False, *args)[:2]


def _fwd(native, *args):
    state, hs, saved, cs = _forward(native, True, *args)
    return (state, hs), Residuals(args, hs, saved, cs)


def _bwd(native, residuals, cotangents):
    dstate, dhs = cotangents
    dparams, dstate, dreset_state, dxs = _backward(native, residuals, (without_integers(dstate), dhs))
    return dparams, dstate, dreset_state, Sequence(dxs, None)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _forward(native, saving, params, state, reset_state, sequence):
    """(state, hs, saved [T, B, S·Hp], cs [T, B, Hp]); nothing of the last two unless `saving`."""
    return batchable_forward(partial(_call_forward, native, saving))(params, state, reset_state, sequence)


@_forward.defjvp
def _forward_jvp(native, saving, args, tangents):
    """The derivative is XLA's; of what was kept, none: `_backward`'s does not look at it."""
    outs = _forward(native, saving, *args)
    _, moved = jax.jvp(partial(_by_xla, native), args, tangents)
    return outs, (*moved, jnp.zeros_like(outs[2]), jnp.zeros_like(outs[3]))


def _call_forward(native, saving, params, state, reset_state, sequence):
    T, *batch, _ = sequence.xs.shape
    B, H, has_c = math.prod(batch), params["W"].shape[0], hasattr(state, "c")
    Hp = -(-H // native.library.lanes) * native.library.lanes
    kept = (native.kind.saved * Hp if saving else 0, Hp if saving and has_c else 0)
    shapes = [(T, B, H), (B, H), (B, H) if has_c else NOTHING, *((T, B, size) for size in kept)]
    args = _flat_arguments(native, params, state, reset_state, sequence)
    scratch = native.library.scratch(native.cell.kernel.kind, "forward", B, sequence.xs.shape[-1], H)
    hs, h, c, saved, cs, _ = _call(native, "forward", [*shapes, (scratch,)], args)
    saved, cs = saved.reshape(T, *batch, kept[0]), cs.reshape(T, *batch, kept[1])
    return _state_like(state, h, c, batch), hs.reshape(T, *batch, H), saved, cs


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _backward(native, residuals, cotangents):
    """(dparams, dstate, dreset_state, dxs)"""
    one, many = partial(_call_backward, native), partial(_backward_of_many, native)
    return batchable_backward(one, many)(*residuals.args, *residuals[1:], *cotangents)


@_backward.defjvp
def _backward_jvp(native, primals, tangents):
    """XLA's, from the arguments alone: all else that there is follows from them."""

    def by_xla(args, cotangents):
        *others, sequence = jax.vjp(partial(_by_xla, native), *args)[1](cotangents)
        return (*others, sequence.xs)

    (residuals, cotangents), (dresiduals, dcotangents) = primals, tangents
    _, moved = jax.jvp(by_xla, (residuals.args, cotangents), (dresiduals.args, dcotangents))
    return _backward(native, residuals, cotangents), moved


def _call_backward(native, params, state, reset_state, sequence, hs, saved, cs, dstate, dhs):
    return _called_back(native, params, state, reset_state, sequence, hs, saved, cs, dstate, dhs)[:4]


def _backward_of_many(native, params, state, reset_state, sequence, hs, saved, cs, dstate, dhs):
    """As `_call_backward`, for the first batch axis, N, of all but the parameters: their gradients are N, products of
    the δ that the kernel hands out."""
    args = params, state, reset_state, sequence, hs, saved, cs, dstate, dhs
    _, *others, delta = _called_back(native, *args, of_weights=False)
    h_prev = before_each_step(bptt.Residuals(params, sequence, state.h, reset_state, hs, None, None), native.reverse)
    T, N, *_ = sequence.xs.shape
    S, at_x, at_h = native.kind.saved, np.array(native.kind.at_x), np.array(native.kind.at_h)
    H, lanes = params["W"].shape[0], native.library.lanes
    delta = jnp.swapaxes(delta.reshape(T, N, -1, delta.shape[-1] // (S * lanes), S, lanes), -2, -3)
    delta = delta.reshape(*delta.shape[:4], -1)[..., :H]  # [T, N, B, S, H]
    at_x, at_h = delta[..., at_x, :], delta[..., at_h, :]

    def summed(a, delta):
        return jnp.einsum("tnbi,tnbgh->nigh", a.reshape(T, N, -1, a.shape[-1]), delta).reshape(N, a.shape[-1], -1)

    dparams = {"U": summed(sequence.xs, at_x), "W": summed(h_prev, at_h)}
    dparams |= {"b": at_x.sum((0, 2)).reshape(N, -1), "bn": at_h[..., -1, :].sum((0, 2))}
    return {name: dparams[name] for name in params}, *others


def _called_back(native, params, state, reset_state, sequence, hs, saved, cs, dstate, dhs, of_weights=True):
    """(dparams, nothing unless `of_weights`, dstate, dreset_state, dxs, δ [T, B, S·Hp] as the kernels have it)"""
    T, *batch, I = sequence.xs.shape
    B, H, has_c = math.prod(batch), params["W"].shape[0], hasattr(state, "c")
    args = _flat_arguments(native, params, state, reset_state, sequence)
    weights = [weight.shape if of_weights else NOTHING for weight in args[1:5]]
    of_state = [(B, H), (B, H) if has_c else NOTHING]
    resets = of_state if reset_state is not None else [NOTHING, NOTHING]
    given = [array.reshape(T, B, array.shape[-1]) for array in (hs, saved, cs, dhs)]
    shapes = [(T, B, I), *weights, *of_state, *resets, given[1].shape]
    alias = {len(args) + 1: len(shapes) - 1}  # δ takes the place of what was saved
    scratch = native.library.scratch(native.cell.kernel.kind, "backward", B, I, H, of_weights)
    args = [*args, *given, *_flat_state(dstate, B, H)]
    outs = _call(native, "backward", [*shapes, (scratch,)], args, alias)
    dxs, dU, dW, db, dp, dh, dc, dh_reset, dc_reset, delta, _ = outs
    dparams = {"U": dU, "W": dW, "b": db, "p": _unpacked(native.cell, dp, H), "bn": dp}
    dreset_state = None if reset_state is None else _state_like(state, dh_reset, dc_reset, batch)
    dparams = {name: dparams[name] for name in params} if of_weights else {}
    return dparams, _state_like(state, dh, dc, batch), dreset_state, dxs.reshape(sequence.xs.shape), delta


def _by_xla(native, *args):
    return recur(native.cell, Direction(reverse=native.reverse), *args, vjp="manual")


def _call(native, direction, shapes, args, aliases=None):
    outs = [_result(shape, jax.typeof(args[0])) for shape in shapes]
    call = jax.ffi.ffi_call(native.library.target(direction), outs, input_output_aliases=aliases)
    return call(*args, kind=native.cell.kernel.kind, reverse=native.reverse)


def _result(shape, of_xs):
    """What a kernel gives: inside `jax.shard_map` of the axes of all its arguments, which are alike there."""
    if not of_xs.manual_axis_type.varying:
        return jax.ShapeDtypeStruct(shape, jnp.float32)
    everywhere = NamedSharding(of_xs.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=everywhere, manual_axis_type=of_xs.manual_axis_type)


def _flat_arguments(native, params, state, reset_state, sequence):
    """xs, U, W, b, p, h0, c0, marks, h_reset, c_reset as the kernels take them: one batch axis, and an array of nothing
    where there is none."""
    xs, marks = sequence
    T, *batch, I = xs.shape
    B, H = math.prod(batch), params["W"].shape[0]
    nothing = jnp.zeros(0, jnp.float32)
    p = _packed(native.cell, params["p"], H) if "p" in params else params.get("bn", nothing)
    resets = (nothing, nothing) if reset_state is None else _flat_state(reset_state, B, H)
    flat = [xs.reshape(T, B, I), params["U"], params["W"], params.get("b", nothing), p]
    return [*flat, *_flat_state(state, B, H), _bits(marks, T, B), *resets]


def _flat_state(state, B, H):
    c = state.c.reshape(B, H) if hasattr(state, "c") else jnp.zeros(0, jnp.float32)
    return state.h.reshape(B, H), c


def _state_like(state, h, c, batch):
    h = h.reshape(*batch, -1)
    return state._replace(h=h, c=c.reshape(h.shape)) if hasattr(state, "c") else state._replace(h=h)


def _bits(marks, T, B):
    if marks.valid is None and marks.reset is None:
        return jnp.zeros(0, jnp.uint8)
    bits = jnp.uint8(VALID) if marks.valid is None else jnp.where(marks.valid, jnp.uint8(VALID), jnp.uint8(0))
    if marks.reset is not None:
        bits = bits | jnp.where(marks.reset, jnp.uint8(RESET), jnp.uint8(0))
    return bits.reshape(T, B)


def _packed(cell, p, H):
    """Peepholes of i, f and o, 0 where there are none."""
    own = dict(zip(cell.kernel.peepholes, jnp.split(p, len(cell.kernel.peepholes)), strict=True))
    return jnp.concatenate([own.get(gate, jnp.zeros(H, p.dtype)) for gate in "ifo"])


def _unpacked(cell, dp, H):
    blocks = [dp[n * H : n * H + H] for n, gate in enumerate("ifo") if gate in cell.kernel.peepholes]
    return jnp.concatenate(blocks or [dp])


_recur = HandDerived(_plain, _fwd, _bwd, static=1, alone=_alone)
