"""What a backend is, and how any of them becomes a function that JAX differentiates."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from jbptt.autodiff import HandDerived, Residuals
from jbptt.recurrence.inputs import Inputs, Outputs, Spec, Wanted
from jbptt.recurrence.plain import plain


class BackendStatus(NamedTuple):
    """- `available`: whether `unroll(backend=)` can take it on this machine.
    - `detail`: what it runs on, or why it is missing.
    """

    available: bool
    detail: str


class Backend(NamedTuple):
    """A way to run recurrences, forward and backward.

    - `name`: what `unroll(backend=)` calls it.
    - `unsupported(spec, inputs) -> reason`: why it cannot run this, in the user's words; None if it can.
    - `preferred(spec, inputs) -> bool`: whether it was measured to be faster here than those after it in the list.
    - `forward(spec, inputs) -> Outputs`: with nothing kept.
    - `forward_residuals(spec, inputs) -> (Outputs, saved)`: with what its backward needs beside inputs and outputs.
    - `backward(spec, residuals, cotangents) -> Inputs` of cotangents: `residuals` are `Residuals((inputs,), outputs,
      saved)`, of the outputs None unless `keeps_outputs`; `cotangents` are `Outputs`. An integer's is None, given and
      returned; None is returned, too, for what has none and for what `spec.wanted` does not ask for.

    - `status() -> BackendStatus`: whether it is there.
    - `keeps_outputs`: whether its backward looks at the outputs.
    - `reference(spec, inputs) -> Outputs`: the same as plain JAX, for forward mode; and for vjp="auto" the scan's.

    It is asked only where there is something to run: no steps, or no batch, are the scan's. A backend whose functions
    JAX cannot differentiate or batch (calls of foreign code) gives them rules of their own.
    """

    name: str
    unsupported: Callable[[Spec, Inputs], str | None]
    preferred: Callable[[Spec, Inputs], bool]
    forward: Callable[[Spec, Inputs], Outputs]
    forward_residuals: Callable[[Spec, Inputs], tuple[Outputs, Any]]
    backward: Callable[[Spec, Residuals, Outputs], Inputs]
    status: Callable[[], BackendStatus] = lambda: BackendStatus(True, "functions of JAX")
    keeps_outputs: bool = True
    reference: Callable[[Spec, Inputs], Outputs] = plain


@lru_cache(maxsize=64)
def differentiable(backend: Backend) -> HandDerived:
    """`differentiable(backend)(spec, inputs, vjp=...) -> Outputs`: the backend's forward with both backward passes."""

    def backward(spec, residuals, cotangents):
        return (backend.backward(spec, residuals, cotangents),)

    return HandDerived(
        backend.reference,
        backend.forward_residuals,
        backward,
        static=1,
        forward=backend.forward,
        keeps_out=backend.keeps_outputs,
        narrowed=lambda spec, perturbed: (narrowed_to(spec, *perturbed),),
    )


def narrowed_to(spec: Spec, perturbed: Inputs) -> Spec:
    """The spec of a backward pass where cotangents are wanted of some inputs only; `perturbed` has booleans."""
    states = perturbed.state, perturbed.reset_state
    return spec._replace(wanted=Wanted(_any(perturbed.consts), _any(perturbed.xs), _any(states)))


def _any(flags):
    return any(jax.tree.leaves(flags))
