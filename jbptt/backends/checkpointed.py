"""Backpropagation through time in the memory of its square root (Gruslys et al. 2016, Chen et al. 2016), by any
backend.

Forward, the state is kept at the start of every segment of k steps, and nothing else. On the way back each segment is
run again, now keeping what its steps save, and gone back through: T/k states and the residuals of k steps in place of
those of T, least where k = √T, for one forward pass more. (With segments within segments less would do: Griewank 1992;
√T needs two levels only, and each is a scan.) The weight gradients are one product a segment.
"""

from functools import lru_cache
from typing import Any

import jax
from jax import lax

from jbptt.autodiff import Residuals
from jbptt.backends.protocol import Backend
from jbptt.cells.rule import NO_COTANGENT
from jbptt.feedforward.layer import accumulator
from jbptt.recurrence.inputs import Inputs, Outputs
from jbptt.recurrence.masks import add, zeros


@lru_cache(maxsize=64)
def checkpointed(inner: Backend, k: int) -> Backend:
    """`inner`, run in segments of k steps. T must be a multiple of k."""

    def reference(spec, inputs):
        @jax.checkpoint
        def segment(state, part):
            after, *put_out = inner.reference(spec, _segment(inputs, state, part))
            return after, put_out

        parts = _segments((inputs.xs, inputs.masks), k)
        state, put_out = lax.scan(segment, inputs.state, parts, reverse=spec.reverse)
        return Outputs(state, *_whole(put_out))

    def forward_residuals(spec, inputs):
        def segment(state, part):
            after, *put_out = inner.forward(spec, _segment(inputs, state, part))
            return after, (put_out, state)

        parts = _segments((inputs.xs, inputs.masks), k)
        state, (put_out, starts) = lax.scan(segment, inputs.state, parts, reverse=spec.reverse)
        return Outputs(state, *_whole(put_out)), starts

    def backward(spec, residuals, cotangents):
        (inputs,), _, starts = residuals
        if cotangents.hs.size == 0:
            return Inputs(NO_COTANGENT, cotangents.state, NO_COTANGENT, NO_COTANGENT, NO_COTANGENT)

        spec = spec._replace(wanted=spec.wanted._replace(state=True))  # by which segments hang together

        def segment_back(later, at_segment):
            dconsts, dstate, dreset = later
            part, start, dput_out = at_segment
            of_segment = _segment(inputs, start, part)
            out, saved = inner.forward_residuals(spec, of_segment)
            kept = Residuals((of_segment,), out if inner.keeps_outputs else None, saved)
            d = inner.backward(spec, kept, Outputs(dstate, *dput_out))
            if d.consts is not NO_COTANGENT:
                dconsts = jax.tree.map(_plus, dconsts, d.consts, is_leaf=_is_none)
            return (dconsts, d.state, None if dreset is None else add(dreset, d.reset_state)), (d.xs, d.masks)

        end = (
            _widened(zeros(inputs.consts._replace(h_mask=None))),
            cotangents.state,
            None if inputs.reset_state is None else zeros(cotangents.state),
        )
        dput_out = cotangents.hs, cotangents.rest
        parts = _segments((inputs.xs, inputs.masks), k), starts, _segments(dput_out, k)
        (dconsts, dstate, dreset), of_steps = lax.scan(segment_back, end, parts, reverse=not spec.reverse)
        dconsts = jax.tree.map(lambda d, leaf: d.astype(leaf.dtype), dconsts, inputs.consts._replace(h_mask=None))
        dxs, dmasks = _whole(of_steps)
        return Inputs(dconsts, dstate, dxs, dmasks, dreset)

    def forward(spec, inputs):
        return forward_residuals(spec, inputs)[0]

    return inner._replace(
        name=f"checkpointed {inner.name}",
        forward=forward,
        forward_residuals=forward_residuals,
        backward=backward,
        keeps_outputs=False,
        reference=reference,
    )


def _segment(inputs, state, part):
    xs, masks = part
    return inputs._replace(state=state, xs=xs, masks=masks)


def _segments(tree, k):  # [T, ...] -> [T/k, k, ...]
    return jax.tree.map(lambda array: array.reshape(array.shape[0] // k, k, *array.shape[1:]), tree)


def _whole(tree):  # [T/k, k, ...] -> [T, ...]
    return jax.tree.map(lambda array: array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]), tree)


def _widened(tree: Any) -> Any:
    """Sums over the segments are made in float32 at least."""
    return jax.tree.map(lambda leaf: leaf.astype(accumulator(leaf)), tree)


def _plus(total, more):
    return total if more is None else total + more.astype(total.dtype)


def _is_none(leaf):
    return leaf is None
