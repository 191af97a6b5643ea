"""One primitive, that stands for a function which brings its own rules for JAX's transformations. `jax.custom_jvp`
and `jax.custom_vjp` know one direction of derivatives each, and neither is told which arguments are perturbed, can be
transposed, or can be lowered otherwise on one platform.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax._src import checkify, effects
from jax.core import Tracer
from jax.extend import core
from jax.interpreters import ad, batching, mlir

Arrays = Sequence[Any]


class Rules(NamedTuple):
    """A function of arrays, `evaluate(*operands) -> outs`, and what transformations make of it. Tangents are None
    where they are zero.

    - `jvp(operands, tangents) -> (outs, tangents of outs)`.
    - `transpose(operands, cotangents) -> cotangents` of those operands that are but a type (`is_linear`): the function
      is linear in them.
    - `batch(operands, axes, names) -> (outs, axes of outs)`: the axis of an operand is None where it has none; `names`
      are keywords of `jax.vmap`. None: `jax.vmap` of each rule.
    - `on_cpu(*operands) -> outs`: what runs in the place of `evaluate` where a CPU has the whole program to itself.
    """

    evaluate: Callable[..., Arrays]
    jvp: Callable[[Arrays, Arrays], tuple[Arrays, Arrays]]
    transpose: Callable[[Arrays, Arrays], Arrays] | None = None
    batch: Callable[[Arrays, Arrays, dict], tuple[Arrays, Arrays]] | None = None
    on_cpu: Callable[..., Arrays] | None = None


def call_by_rules(rules: Rules, operands: Arrays) -> list[jax.Array]:
    """`rules.evaluate(*operands)`, transformed by its rules. Without a transformation it is evaluated at once."""
    if rules.on_cpu is None and not any(isinstance(operand, Tracer) for operand in operands):
        return list(rules.evaluate(*operands))
    return call_p.bind(*operands, rules=rules, program=Program())


class Program:
    """What a call evaluates, as a jaxpr: there from when the call is traced, not where it is differentiated before."""

    jaxpr: Any = None

    def trace(self, rules: Rules, operands: Arrays) -> Any:
        self.jaxpr = jax.make_jaxpr(lambda *operands: list(rules.evaluate(*operands)))(*operands)
        if effects.ordered_effects.filter_in(self.jaxpr.effects):
            raise NotImplementedError(
                "what is differentiated by hand can have no ordered effects: of jax.debug.print(ordered=True), say, "
                "leave ordered out"
            )
        return self.jaxpr


call_p = core.Primitive("jbptt")
"""Parameters: `rules`, and `program`, what they evaluate."""
call_p.multiple_results = True


def _jvp(primals, tangents, *, rules, program):
    given = [None if type(tangent) is ad.Zero else tangent for tangent in tangents]
    outs, tangents = rules.jvp(list(primals), given)
    return outs, [
        ad.Zero(jax.typeof(out).to_tangent_aval()) if tangent is None else tangent
        for out, tangent in zip(outs, tangents, strict=True)
    ]


def _transpose(cotangents, *operands, rules, program):
    if rules.transpose is None:
        raise NotImplementedError("it is not linear")
    operands = [_type_of(operand.aval) if ad.is_undefined_primal(operand) else operand for operand in operands]
    found = iter(rules.transpose(operands, [ad.instantiate_zeros(cotangent) for cotangent in cotangents]))
    return [next(found) if is_linear(operand) else None for operand in operands]


def _type_of(aval):
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def is_linear(operand: Any) -> bool:
    """Whether an operand of `Rules.transpose` is one in which the function is linear."""
    return isinstance(operand, jax.ShapeDtypeStruct)


def _batch(axis, operands, axes, *, rules, program):
    names = {"axis_size": axis.size, "axis_name": axis.name, "spmd_axis_name": axis.spmd_name}
    if all(at is None for at in axes):
        outs = call_p.bind(*operands, rules=rules, program=program)
        return outs, [None] * len(outs)
    batch = rules.batch or (lambda operands, axes, names: _batch_by_vmap(rules, operands, axes, names))
    return batch(list(operands), list(axes), names)


def _batch_by_vmap(rules, operands, axes, names):
    def jvp(operands, tangents):
        moving = [n for n, tangent in enumerate(tangents) if tangent is not None]

        def of_one(operands, moved):
            tangents = dict(zip(moving, moved, strict=True))
            outs, moved = rules.jvp(operands, [tangents.get(n) for n in range(len(operands))])
            return list(outs), list(moved)

        in_axes = (axes, [axes[n] for n in moving])
        return jax.vmap(of_one, in_axes=in_axes, **names)(operands, [tangents[n] for n in moving])

    def transpose(operands, cotangents):
        linear = [n for n, operand in enumerate(operands) if is_linear(operand)]
        known = [n for n in range(len(operands)) if n not in linear]
        types = {n: _without_axis(operands[n], axes[n]) for n in linear}

        def of_one(given, cotangents):
            given = dict(zip(known, given, strict=True)) | types
            return list(rules.transpose([given[n] for n in range(len(operands))], cotangents))

        in_axes = ([axes[n] for n in known], 0)
        found = jax.vmap(of_one, in_axes=in_axes, **names)([operands[n] for n in known], list(cotangents))
        return [  # of an operand that has no axis, the sum of what comes from all of it
            cotangent.sum(0) if axes[n] is None else _moved(cotangent, axes[n])
            for n, cotangent in zip(linear, found, strict=True)
        ]

    batched = Rules(
        evaluate=jax.vmap(lambda *operands: list(rules.evaluate(*operands)), in_axes=axes, **names),
        jvp=jvp,
        transpose=None if rules.transpose is None else transpose,
    )
    outs = call_by_rules(batched, operands)
    return outs, [0] * len(outs)


def _without_axis(of_all, axis):
    shape = list(of_all.shape)
    if axis is not None:
        del shape[axis]
    return jax.ShapeDtypeStruct(tuple(shape), of_all.dtype)


def _moved(array, to):
    return jax.numpy.moveaxis(array, 0, to)


def _checkify(*given, rules, program):
    """What `jax.experimental.checkify` looks for, found in `evaluate`, which then runs on every platform. The gradient
    of a function that was checkified is JAX's own."""
    number = len(program.jaxpr.in_avals)
    *context, error, enabled_errors = given[: len(given) - number]  # a context since JAX 0.11
    return checkify.checkify_jaxpr(*context, program.jaxpr, enabled_errors, error, *given[len(given) - number :])


def _lower(context, *operands, rules, program):
    return mlir.lower_fun(core.jaxpr_as_fun(program.jaxpr), multiple_results=True)(context, *operands)


def _lower_on_cpu(context, *operands, rules, program):
    if rules.on_cpu is None or not _has_the_program_to_itself(context.module_context):
        return _lower(context, *operands, rules=rules, program=program)
    return mlir.lower_fun(rules.on_cpu, multiple_results=True)(context, *operands)


def _has_the_program_to_itself(context):
    """Whether what is lowered runs on one device, or on each by itself, and on this machine."""
    if context.lowering_parameters.for_export:
        return False
    axes = context.axis_context
    if isinstance(axes, mlir.SPMDAxisContext):
        return set(axes.manual_axes) == set(axes.mesh.axis_names)
    return getattr(axes, "num_devices", 1) == 1


call_p.def_impl(lambda *operands, rules, program: rules.evaluate(*operands))
call_p.def_abstract_eval(lambda *operands, rules, program: program.trace(rules, operands).out_avals)
ad.primitive_jvps[call_p] = _jvp
ad.primitive_transposes[call_p] = _transpose
batching.fancy_primitive_batchers[call_p] = _batch  # told the axis, which may have a name
checkify.error_checks[call_p] = _checkify
mlir.register_lowering(call_p, _lower)
mlir.register_lowering(call_p, _lower_on_cpu, platform="cpu")
