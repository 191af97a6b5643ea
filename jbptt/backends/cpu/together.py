"""Several recurrences of one sequence each in one call of a kernel: above each other, "chained", where step t of one is
beside step t − 1 of what is above it, in a wavefront; or side by side. To JAX one function, with both backward passes.

XLA runs one call after the other, and a recurrence of one sequence has one thread, or several that wait for each other
at every step. Batches of more have a thread for each slice of their rows, and nothing to gain.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from jbptt.autodiff import HandDerived, Residuals
from jbptt.backends import scan
from jbptt.backends.cpu import backend as alone, calls, stepping_aside
from jbptt.backends.cpu.batching import NO_AXIS
from jbptt.backends.cpu.calls import Saved
from jbptt.backends.cpu.transformed import call_kernel
from jbptt.backends.protocol import narrowed_to
from jbptt.recurrence.inputs import Inputs, Outputs, Spec
from jbptt.recurrence.plain import plain, plain_residuals

LEAST_STEPS, LEAST_WORK = 96, 2**21
"""Two blocks of the kernels', with fewer there is nothing to be at beside another; and multiplications of each of them,
with fewer of which it would be done before another thread is awake: benchmarks/NOTES.md."""


class Together(NamedTuple):
    """- `specs`: of each.
    - `chained`: the xs of each but the first are the hs of the one before it; in its `Inputs` they are None.
    """

    specs: tuple[Spec, ...]
    chained: bool


def preferred(together: Together, all_inputs: Sequence[Inputs]) -> bool:
    """Whether one call can run them, and is faster than one for each; `all_inputs` with all xs, known or not."""
    T, *batch = all_inputs[0].steps
    return (
        math.prod(batch) == 1
        and T >= LEAST_STEPS
        and len({inputs.state.h.dtype for inputs in all_inputs}) == 1
        and not (together.chained and any(spec.reverse for spec in together.specs))
        and all(
            T * alone.multiplied(inputs) >= LEAST_WORK
            and alone.unsupported(spec, inputs) is None
            and alone.preferred(spec, inputs)
            for spec, inputs in zip(together.specs, all_inputs, strict=True)
        )
    )


def run(together: Together, all_inputs: tuple[Inputs, ...]) -> tuple[Outputs, ...]:
    """What each puts out; of the hs that are another's xs, None."""
    return _run(together, all_inputs, vjp="manual")


class Kept(NamedTuple):
    """For the way back, of each: every h, and what the kernel saved."""

    hs: tuple[jax.Array, ...]
    saved: tuple[Saved, ...]


def _in_turn(run_one: Callable, together: Together, all_inputs: Sequence[Inputs]) -> list[tuple[Outputs, Any]]:
    """What `run_one(n, spec, inputs) -> (outputs, saved)` gives for one after the other."""
    results: list = []
    for n, (spec, inputs) in enumerate(zip(together.specs, all_inputs, strict=True)):
        results.append(run_one(n, spec, inputs if inputs.xs is not None else inputs._replace(xs=results[-1][0].hs)))
    return results


def _back_in_turn(run_one, together, all_inputs, all_hs, all_cotangents):
    """The cotangents that `run_one(n, spec, inputs, cotangents)` gives, from the last one to the first."""
    gradients, dhs = [], None
    for n in reversed(range(len(all_inputs))):
        spec, inputs, cotangents = together.specs[n], all_inputs[n], all_cotangents[n]
        if above := inputs.xs is None:
            spec, inputs = spec._replace(wanted=spec.wanted._replace(xs=True)), inputs._replace(xs=all_hs[n - 1])
        gradient = run_one(n, spec, inputs, cotangents if cotangents.hs is not None else cotangents._replace(hs=dhs))
        dhs = gradient.xs
        gradients.append(gradient._replace(xs=None) if above else gradient)
    return tuple(reversed(gradients))


def _put_out(together, results):
    *lower, top = [outputs for outputs, _ in results]
    return (*[outputs._replace(hs=None) if together.chained else outputs for outputs in lower], top)


def _kept(results):
    return Kept(tuple(outputs.hs for outputs, _ in results), tuple(saved for _, saved in results))


def _plain(together, all_inputs):
    return _put_out(together, _in_turn(lambda n, *given: (plain(*given), None), together, all_inputs))


def _forward(together, all_inputs):
    def by_kernel(all_inputs):
        each = map(alone.call_of, together.specs)
        return _put_out(together, calls.forward_together([*each], all_inputs, chained=together.chained, saving=False))

    def by(run_one, all_inputs):
        return _put_out(together, _in_turn(lambda n, *given: (run_one(*given), None), together, all_inputs))

    return call_kernel(
        by_kernel=by_kernel,
        by_scan=partial(by, scan.forward),
        derivative=partial(_plain, together),
        batched=_batched(partial(by, alone.forward)),
        args=(all_inputs,),
    )


def _forward_residuals(together, all_inputs):
    each = [alone.call_of(spec) for spec in together.specs]

    def by_kernel(all_inputs):
        results = calls.forward_together(each, all_inputs, chained=together.chained, saving=True)
        return _put_out(together, results), _kept(results)

    def by(run_one, all_inputs):
        results = _in_turn(run_one, together, all_inputs)
        return _put_out(together, results), _kept(results)

    return call_kernel(
        by_kernel=by_kernel,
        by_scan=partial(by, lambda n, *given: stepping_aside.forward_residuals(each[n], *given)),
        derivative=partial(_plain, together),  # of what is kept none: the backward's does not look at it
        batched=_batched(partial(by, lambda n, *given: alone.forward_residuals(*given))),
        args=(all_inputs,),
    )


def _backward(together, residuals, all_cotangents):
    each = [alone.call_of(spec) for spec in together.specs]
    (all_inputs,), _, kept = residuals

    def by_kernel(all_inputs, kept, all_cotangents):
        came = calls.backward_together(
            each, together.specs, all_inputs, kept.hs, kept.saved, all_cotangents, chained=together.chained
        )
        return tuple(gradients for gradients, _ in came)

    def by(run_one, all_inputs, kept, all_cotangents):
        def one(n, spec, inputs, cotangents):
            outputs = Outputs(inputs.state, kept.hs[n])  # whose last state no backward looks at
            return run_one(spec, inputs, outputs, kept.saved[n], cotangents)

        return _back_in_turn(one, together, all_inputs, kept.hs, all_cotangents)

    def by_scan(spec, *given):
        return alone.wanted(spec, stepping_aside.backward(spec, *given))

    def by_kernels(spec, inputs, outputs, saved, cotangents):
        return alone.backward(spec, Residuals((inputs,), outputs, saved), cotangents)

    def derivative(all_inputs, kept, all_cotangents):
        """From the inputs and cotangents alone: all else that there is follows from them."""
        results = _in_turn(lambda n, *given: plain_residuals(*given), together, all_inputs)

        def one(n, spec, inputs, cotangents):
            outputs, steps = results[n]
            return alone.wanted(spec, scan.backward(spec, Residuals((inputs,), outputs, steps), cotangents))

        return _back_in_turn(one, together, all_inputs, [outputs.hs for outputs, _ in results], all_cotangents)

    gradients = call_kernel(
        by_kernel=by_kernel,
        by_scan=partial(by, by_scan),
        derivative=derivative,
        batched=_batched(partial(by, by_kernels)),
        args=(all_inputs, kept, all_cotangents),
    )
    return (gradients,)


def _batched(function):
    """As `call_kernel` takes it: a batch of sequences is one for each recurrence by itself."""

    def batched(args, axes, size):
        leaves, structure = jax.tree.flatten(args)
        in_axes = [None if axis == NO_AXIS else axis for axis in jax.tree.leaves(axes)]
        out = jax.vmap(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), in_axes)(*leaves)
        return out, jax.tree.map(lambda _: 0, out)

    return batched


def _narrowed(together, perturbed):
    (all_perturbed,) = perturbed
    specs = [narrowed_to(spec, of_it) for spec, of_it in zip(together.specs, all_perturbed, strict=True)]
    return (together._replace(specs=tuple(specs)),)


_run = HandDerived(_plain, _forward_residuals, _backward, static=1, forward=_forward, narrowed=_narrowed)
