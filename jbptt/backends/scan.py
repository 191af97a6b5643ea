"""Backpropagation through time, derived by hand, as two scans.

    δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)           ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ

No weight gradient is needed to go back in time. So the backward scan carries ∂C/∂state and writes down δ, and the
weight gradients are one product over all T·B rows after it; `jax.grad` of the forward scan adds a weight-sized product
into its carry at every step instead.
"""

import jax
from jax import lax

from jbptt.autodiff import Residuals
from jbptt.backends.late_stacking import scan_stacking_late
from jbptt.backends.protocol import Backend, BackendStatus
from jbptt.cells.rule import NO_COTANGENT, Consts, StepResiduals
from jbptt.recurrence.inputs import Inputs, Outputs, Spec
from jbptt.recurrence.masks import Masks, zeros
from jbptt.recurrence.plain import plain, plain_residuals
from jbptt.recurrence.precision import as_computed
from jbptt.recurrence.step import StepCotangents, before_each_step, step_vjp

CACHED = 2**23
"""Bytes of weights that a CPU's caches hold from one step to the next. Measured: benchmarks/NOTES.md."""


def backward(spec: Spec, residuals: Residuals, cotangents: Outputs) -> Inputs:
    """From ∂C/∂(last state), ∂C/∂hs and ∂C/∂(the rest of every state) to the cotangents of all inputs."""
    (inputs,), outputs, _ = residuals
    if outputs.hs.size == 0:  # no step or an empty batch: nothing but the state passes through
        return Inputs(NO_COTANGENT, cotangents.state, NO_COTANGENT, NO_COTANGENT, NO_COTANGENT)
    rule, consts, every_step = spec.rule, as_computed(inputs).consts, _every_step(spec, residuals)
    weights = rule.prepare_backward(consts)

    def step_back(later, at_t):
        return step_vjp(rule, weights, later, *at_t)  # δᵗ = (∂cᵗ/∂aᵗ + Wᵀ δᵗ⁺¹) ⊙ f′(zᵗ)

    end = StepCotangents(cotangents.state, None if inputs.reset_state is None else zeros(cotangents.state))
    rest = jax.tree.map(lambda _: None, inputs.state) if cotangents.rest is None else cotangents.rest
    at_all_t = rest._replace(h=cotangents.hs), every_step, inputs.masks
    start, deltas = scan_stacking_late(step_back, end, at_all_t, after=outputs.hs, reverse=not spec.reverse)
    of_steps = rule.weight_vjp(consts, every_step, deltas)  # ∂C/∂W = Σ_t δᵗ (aᵗ⁻¹)ᵀ
    of_inputs, dxs = (None, None) if inputs.xs is None else rule.project_vjp(consts, inputs.xs, deltas)
    dmasks = NO_COTANGENT if inputs.masks.noise is None else Masks(noise=jax.tree.leaves(deltas)[0])  # ∂C/∂z = δ
    return Inputs(_together(consts, of_steps, of_inputs), start.state, dxs, dmasks, start.reset_state)


def _every_step(spec, residuals):
    """h before each step, h after it and what it saved, of all steps: [T, B, H]."""
    (inputs,), (_, hs, _), steps = residuals
    reset = None if inputs.reset_state is None else inputs.reset_state.h
    h_prev = before_each_step(hs, inputs.state.h, reset, inputs.masks, spec.reverse)
    return StepResiduals(h_prev, hs if steps.h is None else steps.h, steps.saved)


def _together(consts, of_steps, of_inputs):
    """The gradients of what steps use and of what inputs meet, as one `Consts`."""
    gradients = of_steps.params | ({} if of_inputs is None else of_inputs.params)
    if of_inputs is not None and (forgotten := consts.params.keys() - gradients.keys()):
        raise ValueError(
            f"neither project_vjp nor weight_vjp of the cell's rule gives a gradient of {sorted(forgotten)}"
        )
    return Consts({name: gradients.get(name) for name in consts.params}, of_steps.memory)


def forward(spec: Spec, inputs: Inputs) -> Outputs:
    """The forward where nothing is differentiated.

    On a CPU, while the weights stay in its caches, cells of several gates form x U step by step: then no [T, B, G·H] is
    written and read back, and the pointwise part reads z from where it was formed.
    """
    if (
        inputs.xs is None
        or inputs.masks.noise is not None
        or not _has_gates(spec, inputs)
        or _weight_bytes(inputs) >= CACHED
    ):
        return plain(spec, inputs)
    rule = spec.rule
    in_step = rule._replace(
        project=lambda consts, xs: xs,
        step=lambda consts, state, x: rule.step(consts, state, rule.project(consts, x)),
    )
    return lax.platform_dependent(
        inputs,
        cpu=lambda inputs: plain(spec._replace(rule=in_step), inputs),
        default=lambda inputs: plain(spec, inputs),
    )


def _has_gates(spec, inputs):
    return jax.eval_shape(spec.rule.project, as_computed(inputs).consts, inputs.xs).shape[-1] > inputs.state.h.shape[-1]


def _weight_bytes(inputs):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(inputs.consts.params))


SCAN = Backend(
    "scan",
    unsupported=lambda spec, inputs: None,
    preferred=lambda spec, inputs: True,
    forward=forward,
    forward_residuals=plain_residuals,
    backward=backward,
    status=lambda: BackendStatus(True, "XLA, on any device"),
)
