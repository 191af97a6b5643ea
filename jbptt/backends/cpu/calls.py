"""Calls of the library's two functions: a whole recurrence forward, and back, the products with the inputs and the
weights' gradients among it.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates, S vectors saved of a unit, Hp: H
up to whole vectors.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt._jax import types
from jbptt.backends.cpu.library import Kind, Library
from jbptt.backends.cpu.table import Kernel
from jbptt.cells.rule import NO_COTANGENT, Consts
from jbptt.feedforward.rows import is_index
from jbptt.recurrence.inputs import Inputs, Outputs, Spec
from jbptt.recurrence.step import before_each_step

NOTHING = (0,)
"""The shape of what there is not, and of what nobody asks for."""

VALID, RESET = 1, 2
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


def saved_shapes(call: Call, inputs: Inputs) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of what is kept: of `Saved`'s gates, and cs."""
    T, *batch = inputs.steps
    Hp = call.padded(inputs.state.h.shape[-1])
    return (T, *batch, call.kind.saved * Hp), (T, *batch, Hp if call.kind.has_c else 0)


def forward(call: Call, inputs: Inputs, *, saving: bool) -> tuple[Outputs, Saved]:
    """The kernel's forward; with `saving`, what its backward needs is kept."""
    T, *batch = inputs.steps
    B, H, has_c = math.prod(batch), inputs.state.h.shape[-1], call.kind.has_c
    kept = of_gates, of_cs = saved_shapes(call, inputs) if saving else (NOTHING, NOTHING)
    shapes = [(T, B, H), (B, H), (B, H) if has_c else NOTHING]
    shapes += [(T, B, shape[-1]) if saving and shape[-1] else NOTHING for shape in kept]
    scratch = call.library.scratch(call.kernel.kind, "forward", T, B, _features(inputs), H)
    hs, h, c, gates, cs, _ = _call(call, "forward", [*shapes, (scratch,)], _flat(call, inputs))
    outputs = Outputs(_state_like(inputs.state, h, c), hs.reshape(T, *batch, H))
    return outputs, Saved(gates.reshape(of_gates), cs.reshape(of_cs))


def backward(call: Call, spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs) -> Inputs:
    """The cotangents that `spec.wanted` asks for."""
    return _backward(call, spec, inputs, outputs, saved, cotangents)[0]


def backward_of_each(
    call: Call, spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs
) -> Inputs:
    """`backward`, with the parameters' gradients for each of the first batch axis, N: products of the δ that the kernel
    hands out. Not for peepholes."""
    without = spec._replace(wanted=spec.wanted._replace(consts=False))
    gradients, delta = _backward(call, without, inputs, outputs, saved, cotangents)
    reset = None if inputs.reset_state is None else inputs.reset_state.h
    h_prev = before_each_step(outputs.hs, inputs.state.h, reset, inputs.masks, spec.reverse)
    T, N, *_ = inputs.steps
    H, S, lanes = h_prev.shape[-1], call.kind.saved, call.library.lanes
    delta = delta.reshape(T, N, -1, call.padded(H) // lanes, S, lanes)
    delta = jnp.moveaxis(delta, -2, 2).reshape(T, N, S, -1, call.padded(H))[..., :H]  # [T, N, S, B, H]
    at_x, at_h = (delta[:, :, np.array(columns)] for columns in (call.kind.at_x, call.kind.at_h))

    def summed(a, delta):
        return jnp.einsum("tnbi,tngbh->nigh", a.reshape(T, N, -1, a.shape[-1]), delta).reshape(N, a.shape[-1], -1)

    xs, number = inputs.given_xs, inputs.consts.params["U"].shape[0]
    rows = jax.nn.one_hot(xs, number) if is_index(xs) else xs
    dparams = {"U": summed(rows, at_x), "W": summed(h_prev, at_h)}
    dparams |= {"b": at_x.sum((0, 3)).reshape(N, -1), "bn": at_h[:, :, -1].sum((0, 2))}
    return gradients._replace(consts=Consts({name: dparams[name] for name in inputs.consts.params}))


def _backward(call, spec, inputs, outputs, saved, cotangents):
    """(the cotangents, every δ [T, B, S·Hp] as the kernel has it)"""
    T, *batch = inputs.steps
    B, H, has_c, I = math.prod(batch), inputs.state.h.shape[-1], call.kind.has_c, _features(inputs)
    args, wanted = _flat(call, inputs), spec.wanted
    of_xs = wanted.xs and not is_index(inputs.given_xs)
    of_state = [(B, H), (B, H) if has_c else NOTHING] if wanted.state else [NOTHING, NOTHING]
    shapes = [(T, B, I) if of_xs else NOTHING]
    shapes += [weight.shape if wanted.consts else NOTHING for weight in args[2:6]]
    shapes += [*of_state, *(of_state if inputs.reset_state is not None else [NOTHING, NOTHING])]
    gates, cs = (array.reshape(T, B, array.shape[-1]) if array.size else _nothing() for array in saved)
    given = [outputs.hs.reshape(T, B, H), gates, cs, cotangents.hs.reshape(T, B, H)]
    scratch = call.library.scratch(call.kernel.kind, "backward", T, B, I, H, wanted.consts, of_xs)
    shapes = [*shapes, gates.shape, (scratch,)]
    alias = {len(args) + 1: len(shapes) - 2}  # δ takes the place of what was saved
    args = [*args, *given, *_flat_state(cotangents.state)]
    dxs, dU, dW, db, dp, dh, dc, dh_reset, dc_reset, delta, _ = _call(call, "backward", shapes, args, alias)
    dparams = {name: NO_COTANGENT for name in inputs.consts.params}
    if wanted.consts:
        all_gradients = {"U": dU, "W": dW, "b": db, "p": _unpacked(call, dp, H), "bn": dp}
        dparams = {name: all_gradients[name] for name in dparams}
    dstate = _state_like(inputs.state, dh, dc) if wanted.state else None
    dreset = None
    if wanted.state and inputs.reset_state is not None:
        dreset = _state_like(inputs.state, dh_reset, dc_reset)
    dxs = dxs.reshape(inputs.given_xs.shape) if of_xs else None
    return Inputs(Consts(dparams), dstate, dxs, NO_COTANGENT, dreset), delta


def _call(call, direction, shapes, args, aliases=None):
    outs = [_result(shape, like=args[2]) for shape in shapes]  # U: xs, or indices, may be of nothing
    function = jax.ffi.ffi_call(call.library.target(direction), outs, input_output_aliases=aliases)
    return function(*args, kinds=call.kernel.kind, reverse=np.int64(call.reverse), chained=False)


def _result(shape, like):
    return types.result_type(shape, jnp.float32, like)


def _flat(call, inputs):
    """xs, indices, U, W, b, p, h0, c0, marks, h_reset, c_reset as the kernels take them: one batch axis, an array of
    nothing where there is none."""
    T, *batch = inputs.steps
    B, params, xs = math.prod(batch), inputs.consts.params, inputs.given_xs
    p = _packed(call, params["p"]) if "p" in params else params.get("bn", _nothing())
    resets = (_nothing(), _nothing()) if inputs.reset_state is None else _flat_state(inputs.reset_state)
    nothing = jnp.zeros(NOTHING, jnp.int32)
    given = [_nothing(), xs.reshape(T, B)] if is_index(xs) else [xs.reshape(T, B, xs.shape[-1]), nothing]
    flat = [*given, params["U"], params["W"], params.get("b", _nothing()), p]
    return [*flat, *_flat_state(inputs.state), _bits(inputs.masks, T, B), *resets]


def _features(inputs):
    """Those that xs have; 0 where indices stand for them."""
    return 0 if is_index(inputs.given_xs) else inputs.given_xs.shape[-1]


def _nothing():
    return jnp.zeros(NOTHING, jnp.float32)


def _flat_state(state):
    def flat(array):
        return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])

    return flat(state.h), flat(state.c) if hasattr(state, "c") else _nothing()


def _state_like(state, h, c):
    h = h.reshape(state.h.shape)
    return state._replace(h=h, c=c.reshape(h.shape)) if hasattr(state, "c") else state._replace(h=h)


def _bits(masks, T, B):
    if masks.valid is None and masks.reset is None:
        return jnp.zeros(NOTHING, jnp.uint8)
    bits = jnp.uint8(VALID) if masks.valid is None else jnp.where(masks.valid, jnp.uint8(VALID), jnp.uint8(0))
    if masks.reset is not None:
        bits = bits | jnp.where(masks.reset, jnp.uint8(RESET), jnp.uint8(0))
    return bits.reshape(T, B)


def _packed(call, p):
    """Peepholes of i, f and o, 0 where there are none."""
    own = dict(zip(call.kernel.peepholes, jnp.split(p, len(call.kernel.peepholes)), strict=True))
    return jnp.concatenate([own.get(gate, jnp.zeros_like(next(iter(own.values())))) for gate in "ifo"])


def _unpacked(call, dp: Any, H: int):
    blocks = [dp[n * H : n * H + H] for n, gate in enumerate("ifo") if gate in call.kernel.peepholes]
    return jnp.concatenate(blocks or [dp])
