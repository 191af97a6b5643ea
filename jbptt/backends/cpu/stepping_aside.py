"""What runs in the place of a kernel where the program is not one CPU's own: the scan, with the kernel's residuals.

Of those it keeps the cell states, and nothing of the gates: given every h and c, the backward forms all gates of all
times together again, by one call of the rule's step. (Their room is not even made, where one program holds both
passes.)
"""

import jax.numpy as jnp
from jax import lax

from jbptt.autodiff import Residuals
from jbptt.backends import scan
from jbptt.backends.cpu.calls import Call, Saved, saved_shapes
from jbptt.recurrence.inputs import Inputs, Outputs, SavedSteps, Spec
from jbptt.recurrence.plain import projected
from jbptt.recurrence.step import before_each_step, step


def forward_residuals(call: Call, spec: Spec, inputs: Inputs) -> tuple[Outputs, Saved]:
    """As the kernel's forward, that saves."""

    def one_step(state, at_t):
        state, h, _ = step(spec.rule, inputs, state, *at_t)
        return state, (h, state[1:])

    zs = projected(spec, inputs)
    state, (hs, cells) = lax.scan(one_step, inputs.state, (zs, inputs.masks), reverse=spec.reverse)
    of_gates, of_cs = saved_shapes(call, inputs)
    cs = jnp.zeros(of_cs, jnp.float32)
    if cells:
        (c,) = cells
        cs = jnp.concatenate([c, jnp.zeros((*c.shape[:-1], of_cs[-1] - c.shape[-1]), c.dtype)], axis=-1)
    return Outputs(state, hs), Saved(jnp.zeros(of_gates, jnp.float32), cs)


def backward(spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs) -> Inputs:
    """As the kernel's backward, from what `forward_residuals` kept."""
    H = outputs.hs.shape[-1]
    every = [outputs.hs, *([saved.cs[..., :H]] if saved.cs.shape[-1] else [])]
    resets = [None] * len(every) if inputs.reset_state is None else inputs.reset_state
    before = [
        before_each_step(array, first, reset, inputs.masks, spec.reverse)
        for array, first, reset in zip(every, inputs.state, resets, strict=True)
    ]
    _, gates = spec.rule.step(inputs.consts, type(inputs.state)(*before), projected(spec, inputs))
    return scan.backward(spec, Residuals((inputs,), outputs, SavedSteps(gates, None)), cotangents)
