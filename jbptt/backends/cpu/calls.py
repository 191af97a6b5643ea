"""Calls of the library's two functions: a whole recurrence forward, and back, the products with the inputs and the
weights' gradients among it.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates, S vectors saved of a unit, Hp: H
up to whole vectors.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt._jax import types
from jbptt.backends.cpu.library import Kind, Library
from jbptt.backends.cpu.table import Kernel
from jbptt.cells.pieces import masked
from jbptt.cells.rule import NO_COTANGENT, Consts
from jbptt.feedforward.layer import accumulator
from jbptt.feedforward.rows import is_index
from jbptt.recurrence.inputs import Inputs, Outputs, Spec
from jbptt.recurrence.precision import as_computed
from jbptt.recurrence.step import before_each_step

NOTHING = (0,)
"""The shape of what there is not, and of what nobody asks for."""

VALID, RESET, CUT = 1, 2, 4
"""Bits of the kernels' marks."""


class Call(NamedTuple):
    """What is fixed of a call."""

    library: Library
    kernel: Kernel
    reverse: bool

    @property
    def kind(self) -> Kind:
        return self.library.kinds[self.kernel.kind]

    def padded(self, H: int) -> int:
        """Hp."""
        return -(-H // self.library.lanes) * self.library.lanes


class Saved(NamedTuple):
    """What the kernel keeps of every step.

    - `gates`: [T, B, S·Hp], in an order of its own; of no entries where nothing is kept.
    - `cs`: every cell state, [T, B, Hp]; of no entries where there is none.
    """

    gates: jax.Array
    cs: jax.Array


class Sizes(NamedTuple):
    """Of a call: [T, B, I] of xs, I being 0 where there are indices, and H."""

    T: int
    batch: tuple[int, ...]
    I: int
    H: int

    @property
    def B(self) -> int:
        return math.prod(self.batch)


def sizes_of(all_inputs: Sequence[Inputs]) -> list[Sizes]:
    """Of each; without xs it has the hs of the one before it."""
    T, *batch = all_inputs[0].steps
    sizes, below = [], 0
    for inputs in all_inputs:
        H = inputs.state.h.shape[-1]
        I = below if inputs.xs is None else 0 if is_index(inputs.xs) else inputs.xs.shape[-1]
        sizes.append(Sizes(T, tuple(batch), I, H))
        below = H
    return sizes


def saved_shapes(call: Call, of: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of what is kept: of `Saved`'s gates, and cs."""
    Hp = call.padded(of.H)
    return (of.T, *of.batch, call.kind.saved * Hp), (of.T, *of.batch, Hp if call.kind.has_c else 0)


def forward(call: Call, inputs: Inputs, *, saving: bool) -> tuple[Outputs, Saved]:
    """The kernel's forward; with `saving`, what its backward needs is kept."""
    return forward_together([call], [inputs], saving=saving)[0]


def forward_together(
    calls: Sequence[Call], all_inputs: Sequence[Inputs], *, chained: bool = False, saving: bool
) -> list[tuple[Outputs, Saved]]:
    """The forward of several in one call; `chained`, the xs of all but the first are the hs of the one before."""
    args, results, sizes = [], [], sizes_of(all_inputs)
    kept = [saved_shapes(c, of) if saving else (NOTHING, NOTHING) for c, of in zip(calls, sizes, strict=True)]
    for call, inputs, of, kept_of_it in zip(calls, all_inputs, sizes, kept, strict=True):
        args += _flat(call, inputs, of)
        dtype = inputs.state.h.dtype
        shapes = [(of.T, of.B, of.H), (of.B, of.H), (of.B, of.H) if call.kind.has_c else NOTHING]
        shapes += [(of.T, of.B, shape[-1]) if saving and shape[-1] else NOTHING for shape in kept_of_it]
        results += [*_of(dtype, *shapes), _scratch(call, dtype, "forward", of.T, of.B, of.I, of.H)]
    outs = iter(_call(calls, "forward", results, args, chained=chained))
    came = []
    for inputs, of, (of_gates, of_cs) in zip(all_inputs, sizes, kept, strict=True):
        hs, h, c, gates, cs, _ = (next(outs) for _ in range(6))
        outputs = Outputs(_state_like(inputs.state, h, c), hs.reshape(of.T, *of.batch, of.H))
        came.append((outputs, Saved(gates.reshape(of_gates), cs.reshape(of_cs))))
    return came


def backward(call: Call, spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs) -> Inputs:
    """The cotangents that `spec.wanted` asks for."""
    return backward_together([call], [spec], [inputs], [outputs.hs], [saved], [cotangents])[0][0]


def backward_of_each(
    call: Call, spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs
) -> Inputs:
    """`backward`, with the parameters' gradients for each of the first batch axis, N: products of the δ that the kernel
    hands out. Not for peepholes."""
    without = spec._replace(wanted=spec.wanted._replace(consts=False))
    [(gradients, delta)] = backward_together([call], [without], [inputs], [outputs.hs], [saved], [cotangents])
    reset = None if inputs.reset_state is None else inputs.reset_state.h
    h_prev = before_each_step(outputs.hs, inputs.state.h, reset, inputs.masks, spec.reverse)
    h_prev = masked(as_computed(inputs).consts, h_prev)
    T, N, *_ = inputs.steps
    H, S, lanes = h_prev.shape[-1], call.kind.saved, call.library.lanes
    delta = delta.reshape(T, N, -1, call.padded(H) // lanes, S, lanes)
    delta = jnp.moveaxis(delta, -2, 2).reshape(T, N, S, -1, call.padded(H))[..., :H]  # [T, N, S, B, H]
    at_x, at_h = (delta[:, :, np.array(columns)] for columns in (call.kind.at_x, call.kind.at_h))

    def summed(a, delta):
        a = a.reshape(T, N, -1, a.shape[-1])
        sums = jnp.einsum("tnbi,tngbh->nigh", a, delta, preferred_element_type=accumulator(delta))
        return sums.reshape(N, a.shape[-1], -1)

    xs, number = inputs.given_xs, inputs.consts.params["U"].shape[0]
    rows = jax.nn.one_hot(xs, number, dtype=delta.dtype) if is_index(xs) else xs
    dparams = {"U": summed(rows, at_x), "W": summed(h_prev, at_h)}
    at_x, at_h = (delta.astype(accumulator(delta)) for delta in (at_x, at_h))
    dparams |= {"b": at_x.sum((0, 3)).reshape(N, -1), "bn": at_h[:, :, -1].sum((0, 2))}
    return gradients._replace(consts=Consts({name: dparams[name] for name in inputs.consts.params}))


def backward_together(
    calls: Sequence[Call],
    specs: Sequence[Spec],
    all_inputs: Sequence[Inputs],
    all_hs: Sequence[jax.Array],
    all_saved: Sequence[Saved],
    all_cotangents: Sequence[Outputs],
    *,
    chained: bool = False,
) -> list[tuple[Inputs, jax.Array]]:
    """Of each: the cotangents that its `spec.wanted` asks for, and every δ [T, B, S·Hp] as the kernel has it.

    `chained`, the cotangents of the hs of all but the last are those of the next one's xs, and so None.
    """
    args, results, aliases, sizes = [], [], {}, sizes_of(all_inputs)
    for call, spec, inputs, of, hs, saved, cotangents in zip(
        calls, specs, all_inputs, sizes, all_hs, all_saved, all_cotangents, strict=True
    ):
        wanted, flat, dtype = spec.wanted, _flat(call, inputs, of), inputs.state.h.dtype
        of_xs = of.I > 0 and (wanted.xs or inputs.xs is None)
        of_state = [(of.B, of.H), (of.B, of.H) if call.kind.has_c else NOTHING] if wanted.state else [NOTHING, NOTHING]
        gates, cs = (array.reshape(of.T, of.B, array.shape[-1]) if array.size else _nothing(dtype) for array in saved)
        results += _of(dtype, (of.T, of.B, of.I) if of_xs else NOTHING)
        results += _of(jnp.float32, *[weight.shape if wanted.consts else NOTHING for weight in flat[2:6]])
        results += _of(dtype, *of_state, *(of_state if inputs.reset_state is not None else [NOTHING, NOTHING]))
        aliases[len(args) + len(flat) + 1] = len(results)  # δ takes the place of what was saved
        scratch = _scratch(call, dtype, "backward", of.T, of.B, of.I, of.H, wanted.consts, of_xs)
        results += [*_of(dtype, gates.shape), scratch]
        dhs = _nothing(dtype) if cotangents.hs is None else cotangents.hs.reshape(of.T, of.B, of.H)
        args += [*flat, hs.reshape(of.T, of.B, of.H), gates, cs, dhs, *_flat_state(cotangents.state)]
    outs = iter(_call(calls, "backward", results, args, aliases, chained))
    return [
        _gradients(call, spec, inputs, of, [next(outs) for _ in range(11)])
        for call, spec, inputs, of in zip(calls, specs, all_inputs, sizes, strict=True)
    ]


def _gradients(call, spec, inputs, of, outs):
    dxs, dU, dW, db, dp, dh, dc, dh_reset, dc_reset, delta, _ = outs
    wanted = spec.wanted
    dparams = {name: NO_COTANGENT for name in inputs.consts.params}
    if wanted.consts:
        all_gradients = {"U": dU, "W": dW, "b": db, "p": _unpacked(call, dp, of.H), "bn": dp}
        dparams = {name: all_gradients[name] for name in dparams}
    dstate = _state_like(inputs.state, dh, dc) if wanted.state else None
    dreset = None
    if wanted.state and inputs.reset_state is not None:
        dreset = _state_like(inputs.state, dh_reset, dc_reset)
    dxs = dxs.reshape(inputs.xs.shape) if inputs.xs is not None and dxs.size else None
    return Inputs(Consts(dparams), dstate, dxs, NO_COTANGENT, dreset), delta


def _of(dtype, *shapes):
    return [(shape, dtype) for shape in shapes]


def _scratch(call, dtype, direction, *how):
    size = call.library.scratch(call.kernel.kind, direction, *how, of_bfloat16=dtype == jnp.bfloat16)
    return (size,), jnp.float32


def _call(calls, direction, results, args, aliases=None, chained=False):
    U = args[2]  # xs, or indices, may be of nothing
    outs = [types.result_type(shape, dtype, like=U) for shape, dtype in results]
    function = jax.ffi.ffi_call(calls[0].library.target(direction), outs, input_output_aliases=aliases)
    kinds = " ".join(call.kernel.kind for call in calls)
    reverse = sum(call.reverse << n for n, call in enumerate(calls))
    return function(*args, kinds=kinds, reverse=np.int64(reverse), chained=chained)


def _flat(call, inputs, of):
    """xs, indices, U, W, b, p, h0, c0, marks, h_reset, c_reset, h_mask, h_stays, c_stays, stay_rates as the kernels
    take them: one batch axis, an array of nothing where there is none."""
    inputs, nothing = as_computed(inputs), _nothing(inputs.state.h.dtype)
    params, xs = inputs.consts.params, inputs.xs
    p = _packed(call, params["p"]) if "p" in params else params.get("bn", nothing)
    resets = (nothing, nothing) if inputs.reset_state is None else _flat_state(inputs.reset_state)
    given = [nothing, jnp.zeros(NOTHING, jnp.int32)]
    if xs is not None:
        given[is_index(xs)] = xs.reshape(of.T, of.B) if is_index(xs) else xs.reshape(of.T, of.B, of.I)
    flat = [*given, params["U"], params["W"], params.get("b", nothing), p]
    h_mask = nothing if inputs.consts.h_mask is None else inputs.consts.h_mask.reshape(of.B, of.H)
    return [*flat, *_flat_state(inputs.state), _bits(inputs.masks, of), *resets, h_mask, *_stays(inputs.masks, of)]


def _nothing(dtype):
    return jnp.zeros(NOTHING, dtype)


def _flat_state(state):
    def flat(array):
        return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])

    return flat(state.h), flat(state.c) if hasattr(state, "c") else _nothing(state.h.dtype)


def _state_like(state, h, c):
    h = h.reshape(state.h.shape)
    return state._replace(h=h, c=c.reshape(h.shape)) if hasattr(state, "c") else state._replace(h=h)


def _bits(masks, of):
    valid, reset, cut, *_ = masks
    if valid is None and reset is None and cut is None:
        return jnp.zeros(NOTHING, jnp.uint8)
    bits = jnp.full((of.T, *of.batch), VALID, jnp.uint8)
    for mask, bit in ((reset, RESET), (cut, CUT)):
        if mask is not None:
            of_all = jnp.broadcast_to(jnp.expand_dims(mask, tuple(range(mask.ndim, bits.ndim))), bits.shape)
            bits = bits | jnp.where(of_all, jnp.uint8(bit), jnp.uint8(0))
    return (bits if valid is None else jnp.where(valid, bits, jnp.uint8(0))).reshape(of.T, of.B)


def _stays(masks, of):
    """What stays of h and of c, flags or nothing; and the part of both that does, where there are no flags."""
    leaves = jax.tree.leaves(masks.zoneout)
    if not leaves:
        return [_nothing(jnp.uint8)] * 2 + [_nothing(jnp.float32)]
    drawn = [leaf.ndim == len(of.batch) + 2 for leaf in leaves]
    flags = [
        leaf.astype(jnp.uint8).reshape(of.T, of.B, of.H) if is_drawn else jnp.zeros(NOTHING, jnp.uint8)
        for leaf, is_drawn in zip(leaves, drawn, strict=True)
    ]
    rates = [
        jnp.float32(0) if is_drawn else leaf.ravel()[0].astype(jnp.float32)
        for leaf, is_drawn in zip(leaves, drawn, strict=True)
    ]
    absent = 2 - len(leaves)  # of c, where there is none
    return [*flags, *[jnp.zeros(NOTHING, jnp.uint8)] * absent, jnp.stack([*rates, *[jnp.float32(0)] * absent])]


def _packed(call, p):
    """Peepholes of i, f and o, 0 where there are none."""
    own = dict(zip(call.kernel.peepholes, jnp.split(p, len(call.kernel.peepholes)), strict=True))
    return jnp.concatenate([own.get(gate, jnp.zeros_like(next(iter(own.values())))) for gate in "ifo"])


def _unpacked(call, dp: Any, H: int):
    blocks = [dp[n * H : n * H + H] for n, gate in enumerate("ifo") if gate in call.kernel.peepholes]
    return jnp.concatenate(blocks or [dp])
