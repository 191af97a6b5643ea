"""Backpropagation through time in the memory of its square root (Gruslys et al. 2016, Chen et al. 2016).

Forward, the state is kept at the start of every segment of k steps, and nothing else. On the way back each segment is
run again, now keeping what its steps save, and gone back through: T/k states and the residuals of k steps in place of
those of T, least where k = √T, for one forward pass more. The weight gradients are one product a segment.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt.cells.cell import Params, State
from jbptt.feedforward.layer import accumulator
from jbptt.hand_derived import HandDerived
from jbptt.recurrence.bptt import bptt_bwd, bptt_fwd, recur
from jbptt.recurrence.forward import Sequence, forward, forward_alone
from jbptt.recurrence.marks import plus, without_integers, zeros


class SegmentResiduals(NamedTuple):
    """Weights, inputs and marks, the state at the start of each segment [T/k, ...], and after a reset."""

    params: Params
    sequence: Sequence
    starts: State
    reset_state: State | None


def _forward(cell, direction, k, params, state, reset_state, sequence):
    """`forward` in segments of k steps. T is a multiple of k."""

    @jax.checkpoint
    def segment(state, part):
        return forward(cell, direction, params, state, reset_state, part)

    state, hs = lax.scan(segment, state, _segments(sequence, k), reverse=direction.reverse)
    return state, _whole(hs)


def _fwd(cell, direction, k, params, state, reset_state, sequence):
    def segment(state, part):
        after, hs = forward_alone(cell, direction, params, state, reset_state, part)
        return after, (hs, state)

    final, (hs, starts) = lax.scan(segment, state, _segments(sequence, k), reverse=direction.reverse)
    return (final, _whole(hs)), SegmentResiduals(params, sequence, starts, reset_state)


def _bwd(cell, direction, k, residuals, cotangents):
    params, sequence, starts, reset_state = residuals
    dstate, dhs = cotangents
    dstate = without_integers(dstate)
    if dhs.size == 0:
        return None, dstate, None, None

    def segment_back(carry, at_segment):
        dparams, dstate, dreset_state = carry
        part, start, dhs = at_segment
        _, kept = bptt_fwd(cell, direction, params, start, reset_state, part)
        more, dstate, dreset, dpart = bptt_bwd(cell, direction, kept, (dstate, dhs))
        dparams = {name: plus(total, _widened(more[name])) for name, total in dparams.items()}
        return (dparams, dstate, None if dreset is None else plus(dreset_state, dreset)), dpart.xs

    start = _widened(zeros(params)), dstate, None if reset_state is None else zeros(dstate)
    stacked = _segments(sequence, k), starts, _segments(dhs, k)
    carry, dxs = lax.scan(segment_back, start, stacked, reverse=not direction.reverse)
    dparams, dstate, dreset_state = carry
    dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
    return dparams, dstate, dreset_state, Sequence(_whole(dxs), None)


def _segments(tree, k):  # [T, ...] -> [T/k, k, ...]
    return jax.tree.map(lambda array: array.reshape(array.shape[0] // k, k, *array.shape[1:]), tree)


def _whole(segments):  # [T/k, k, ...] -> [T, ...]
    return segments.reshape(segments.shape[0] * segments.shape[1], *segments.shape[2:])


def _widened(tree: Any) -> Any:
    """Sums over the segments are made in float32 at least."""
    return jax.tree.map(lambda leaf: leaf.astype(accumulator(leaf)), tree)


recur_in_segments = HandDerived(_forward, _fwd, _bwd, static=3)
"""recur_in_segments(cell, direction, k, params, state, reset_state, sequence, vjp=...) -> (state, hs): `recur`, keeping
the state of every k-th step only."""


def recur_checkpointed(cell, direction, k, params, state, reset_state, sequence, *, vjp):
    """`recur` of any T: in segments of k < T steps, and the steps that are left over, the last of them, as they are."""
    T = sequence.xs.shape[0]
    whole = T - T % k

    def run(state, first, last):
        part = jax.tree.map(lambda array: array[first:last], sequence)
        if last - first < k:
            return recur(cell, direction, params, state, reset_state, part, vjp=vjp)
        return recur_in_segments(cell, direction, k, params, state, reset_state, part, vjp=vjp)

    if whole == T:
        return run(state, 0, T)
    parts, hs = [(0, whole), (whole, T)], {}
    for part in reversed(parts) if direction.reverse else parts:
        state, hs[part] = run(state, *part)
    return state, jnp.concatenate([hs[part] for part in parts])
