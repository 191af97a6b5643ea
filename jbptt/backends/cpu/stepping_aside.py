"""What runs in the place of a kernel where the program is not one CPU's own: the scan, with the kernel's residuals.

Which of the two runs is decided for each pass where it is lowered, and they need not agree: a forward may be evaluated
by itself, or on other devices than its backward. So each backward must do with what either forward keeps. Of every h
and c, one call of the rule's step over all times makes the gates: here, again, on the way back; and for a kernel's
backward, on the way there. (Where one program holds both passes, nobody looks at those, and XLA leaves them out.)
"""

from typing import Any

import jax
import jax.numpy as jnp

from jbptt.autodiff import Residuals
from jbptt.backends import scan
from jbptt.backends.cpu.calls import Call, Saved, saved_shapes, sizes_of
from jbptt.recurrence.inputs import Inputs, Outputs, SavedSteps, Spec
from jbptt.recurrence.plain import projected, scanned
from jbptt.recurrence.precision import as_computed
from jbptt.recurrence.step import before_each_step


def forward_residuals(call: Call, spec: Spec, inputs: Inputs) -> tuple[Outputs, Saved]:
    """As the kernel's forward, that saves."""

    outputs, cells = scanned(spec, inputs, keep=lambda state, _: state[1:])
    of_gates, of_cs = saved_shapes(call, sizes_of([inputs])[0])
    cs = _padded(cells[0], of_cs[-1]) if cells else jnp.zeros(of_cs, inputs.state.h.dtype)
    vectors = _vectors(call, *_made_by_steps(spec, inputs, outputs.hs, cells))
    return outputs, Saved(vectors.reshape(of_gates), cs)


def _made_by_steps(spec: Spec, inputs: Inputs, hs: jax.Array, cells: tuple) -> tuple[jax.Array, Any]:
    """(the h that the rule's step makes at every time, [T, B, H], what it saves, [T, ...]), from every h and c."""
    every = [hs, *cells]
    resets = [None] * len(every) if inputs.reset_state is None else inputs.reset_state
    before = [
        before_each_step(array, first, reset, inputs.masks, spec.reverse)
        for array, first, reset in zip(every, inputs.state, resets, strict=True)
    ]
    inputs = as_computed(inputs)
    made, saved = spec.rule.step(inputs.consts, type(inputs.state)(*before), projected(spec, inputs))
    return made.h, saved


def _vectors(call: Call, made: jax.Array, saved: Any) -> jax.Array:
    """What the kernel saves of every step, in its order: [T, B, Hp/lanes, S, lanes]."""
    Hp, lanes = call.padded(made.shape[-1]), call.library.lanes
    padded = [_padded(made if name == "h" else getattr(saved, name), Hp) for name in call.kernel.saves]
    return jnp.stack([array.reshape(*array.shape[:-1], Hp // lanes, lanes) for array in padded], axis=-2)


def _padded(array: jax.Array, to: int) -> jax.Array:
    """[..., H] -> [..., Hp]."""
    return jnp.concatenate([array, jnp.zeros((*array.shape[:-1], to - array.shape[-1]), array.dtype)], axis=-1)


def backward(spec: Spec, inputs: Inputs, outputs: Outputs, saved: Saved, cotangents: Outputs) -> Inputs:
    """As the kernel's backward, from every h and c."""
    H = outputs.hs.shape[-1]
    cells = (saved.cs[..., :H],) if saved.cs.shape[-1] else ()
    made, gates = _made_by_steps(spec, inputs, outputs.hs, cells)
    steps = SavedSteps(gates, None if inputs.masks.zoneout is None else made)
    return scan.backward(spec, Residuals((inputs,), outputs, steps), cotangents)
