"""The backend "cpu": C++ kernels for whole recurrences, with rules of their own for JAX's transformations."""

import math
from functools import partial

from jbptt._jax import types
from jbptt.autodiff import Residuals
from jbptt.backends import scan
from jbptt.backends.cpu import calls, stepping_aside
from jbptt.backends.cpu.batching import first_batch_axis, for_each, has_axis, joined, one_by_one
from jbptt.backends.cpu.calls import Call, Saved
from jbptt.backends.cpu.library import Library, loaded
from jbptt.backends.cpu.table import kernels
from jbptt.backends.cpu.transformed import call_kernel
from jbptt.backends.protocol import Backend, BackendStatus
from jbptt.cells.rule import NO_COTANGENT
from jbptt.feedforward.rows import is_index
from jbptt.recurrence.inputs import Inputs, Outputs, Spec
from jbptt.recurrence.plain import plain, plain_residuals

MOST_ROWS = 2**31 - 2**12
"""T·B, which the kernels count in 32 bits."""

LEAST_STEPS, LEAST_ROWS = 2, 16
"""T and T·B from which a kernel is faster: benchmarks/NOTES.md."""

LARGE, LEAST_ROWS_OF_LARGE = 4, 128
"""Weights of so many second caches are packed in memory; and the T·B that repay it."""


def unsupported(spec: Spec, inputs: Inputs) -> str | None:
    """Why the kernels cannot run this; None if they can."""
    if spec.rule not in kernels():
        return "there is no kernel for this cell"
    if spec.rest:
        return "the kernels put out h alone of every state"
    xs, masks = inputs.given_xs, inputs.masks
    floats = [*inputs.consts.params.values(), *([] if is_index(xs) else [xs])]
    if others := {leaf.dtype.name for leaf in floats} - {"float32", "bfloat16"}:
        return f"the kernels are for float32 and bfloat16, and there are xs or parameters of {', '.join(others)}"
    if types.is_symbolic(inputs):
        return "the kernels are for sizes that are known"
    if math.prod(inputs.steps) >= MOST_ROWS:
        return f"the kernels count T·B in 32 bits, and xs are {list(xs.shape)}"
    if masks.noise is not None:
        return "the kernels have no noise"
    if types.is_partitioned(inputs):
        return "the arrays are sharded over several devices, and XLA cannot cut a kernel up"
    if other := types.platforms(inputs) - {"cpu"}:
        return f"the kernels are for the CPU, and there are arrays on {sorted(other)}"
    library = loaded()
    return library if isinstance(library, str) else None


def preferred(spec: Spec, inputs: Inputs) -> bool:
    """Whether a kernel is faster than the scan, as measured: benchmarks/NOTES.md.

    One step is the same products either way, and weights are packed anew at each call, which a few rows do not repay.
    """
    library, (T, *batch) = loaded(), inputs.steps
    assert isinstance(library, Library)  # else it is not asked
    is_large = 4 * multiplied(inputs) >= LARGE * library.second_cache  # packed in float32
    rows = LEAST_ROWS_OF_LARGE if is_large else LEAST_ROWS
    return T >= LEAST_STEPS and T * math.prod(batch) >= rows


def multiplied(inputs: Inputs) -> int:
    """The parameters' entries that a step multiplies by: none of U's where it is picked from."""
    params = inputs.consts.params
    return sum(leaf.size for name, leaf in params.items() if not (name == "U" and is_index(inputs.given_xs)))


def call_of(spec: Spec) -> Call:
    """The kernel that runs it, which there is."""
    library = loaded()
    assert isinstance(library, Library)  # else `unsupported` has a reason
    return Call(library, kernels()[spec.rule], spec.reverse)


def forward(spec: Spec, inputs: Inputs) -> Outputs:
    """One call, with nothing kept."""
    call = call_of(spec)
    return call_kernel(
        by_kernel=lambda inputs: calls.forward(call, inputs, saving=False)[0],
        by_scan=lambda inputs: scan.forward(spec, inputs),
        derivative=lambda inputs: plain(spec, inputs),
        batched=partial(_batched_forward, partial(forward, spec)),
        args=(inputs,),
    )


def forward_residuals(spec: Spec, inputs: Inputs) -> tuple[Outputs, Saved]:
    """One call, with what the backward needs."""
    call = call_of(spec)
    return call_kernel(
        by_kernel=lambda inputs: calls.forward(call, inputs, saving=True),
        by_scan=lambda inputs: stepping_aside.forward_residuals(call, spec, inputs),
        derivative=lambda inputs: plain(spec, inputs),  # of what is kept none: the backward's does not look at it
        batched=partial(_batched_forward, partial(forward_residuals, spec)),
        args=(inputs,),
    )


def _batched_forward(function, args, axes, size):
    if has_axis(axes[0].consts.params):
        return one_by_one(function, args, axes)
    out = function(*joined(args, axes, size))
    return out, first_batch_axis(out)


def backward(spec: Spec, residuals: Residuals, cotangents: Outputs) -> Inputs:
    """One call."""
    (inputs,), outputs, saved = residuals
    return _backward(spec, False, inputs, outputs, saved, cotangents)


def _backward(spec, each, *args):
    """- `each`: with the constants' cotangents for each of the first batch axis."""
    call, of_each = call_of(spec), for_each if each else lambda function: function

    def by_scan(inputs, outputs, saved, cotangents):
        return wanted(spec, stepping_aside.backward(spec, inputs, outputs, saved, cotangents))

    def derivative(inputs, outputs, saved, cotangents):
        """From the inputs and cotangents alone: all else that there is follows from them."""
        outputs, steps = plain_residuals(spec, inputs)
        return wanted(spec, scan.backward(spec, Residuals((inputs,), outputs, steps), cotangents))

    return call_kernel(
        by_kernel=partial(calls.backward_of_each if each else calls.backward, call, spec),
        by_scan=of_each(by_scan),
        derivative=of_each(derivative),
        batched=partial(_batched_backward, spec, each),
        args=args,
    )


def _batched_backward(spec, each, args, axes, size):
    consts = args[0].consts
    if each or has_axis(axes[0].consts.params) or (spec.wanted.consts and "p" in consts.params):
        return one_by_one(partial(_backward, spec, each), args, axes)
    out = _backward(spec, spec.wanted.consts, *joined(args, axes, size))
    return out, first_batch_axis(out)


def wanted(spec: Spec, cotangents: Inputs) -> Inputs:
    """The cotangents that are wanted: what a kernel gives."""
    consts, state, xs, _, reset_state = cotangents
    none = dict.fromkeys(consts.params)
    return Inputs(
        consts if spec.wanted.consts else consts._replace(params=none),
        state if spec.wanted.state else None,
        xs if spec.wanted.xs else None,
        NO_COTANGENT,
        reset_state if spec.wanted.state else None,
    )


def status() -> BackendStatus:
    """Whether the kernels are there, and which."""
    library = loaded()
    return BackendStatus(False, library) if isinstance(library, str) else BackendStatus(True, library.instruction_set)


CPU = Backend("cpu", unsupported, preferred, forward, forward_residuals, backward, status)
