"""Every use of a name that JAX does not promise, and what is made of them: one primitive, and what types tell.

The primitive stands for a function that JAX is not to look into: the function brings its own rules. `jax.custom_jvp`
and `jax.custom_vjp` know one direction of derivatives each, and neither is told which arguments are perturbed, can be
transposed, or can be lowered otherwise on one platform.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.core import Tracer
from jax.extend import core
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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
mlir.register_lowering(call_p, _lower)
mlir.register_lowering(call_p, _lower_on_cpu, platform="cpu")


def equally_varying(args: Any) -> Any:
    """Inside `jax.shard_map`, what is the same on every device, weights mostly, as what differs there: the sum of its
    gradient over the devices is then JAX's."""
    axes = varying_over(args)
    return jax.tree.map(lambda leaf: varying(leaf, axes), args) if axes else args


def varying_over(tree: Any) -> frozenset[str]:
    """The axes of a mesh, inside `jax.shard_map`, along which some leaf may differ."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return frozenset().union(*(jax.typeof(array).manual_axis_type.varying for array in arrays))


def varying(leaf: Any, axes: Any) -> Any:
    """An array as one that may differ along these axes; anything else as it is."""
    missing = tuple(frozenset(axes) - varying_over(leaf))
    return lax.pcast(leaf, missing, to="varying") if missing and isinstance(leaf, jax.Array) else leaf


def is_partitioned(tree: Any) -> bool:
    """Whether some array is of a mesh of several devices, whose program XLA cuts up (`jax.shard_map`'s are cut)."""
    return any(_free_devices(jax.typeof(leaf).sharding.mesh) > 1 for leaf in jax.tree.leaves(tree))


def _free_devices(mesh):
    devices = 1
    for size, axis_type in zip(mesh.axis_sizes, mesh.axis_types, strict=True):
        devices *= 1 if axis_type == AxisType.Manual else size
    return devices


def explicit_spec(array: Any) -> PartitionSpec | None:
    """How an array's type says that it is sharded, an entry an axis; None where types say nothing (no mesh, or one
    whose axes are not `AxisType.Explicit`)."""
    mesh = jax.typeof(array).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return None
    spec = tuple(jax.typeof(array).sharding.spec)
    return PartitionSpec(*spec, *[None] * (array.ndim - len(spec)))


def resharded(array: Any, like: Any, axes: Sequence[int | None]) -> Any:
    """`array` sharded as `like`'s type says: each of its axes as that axis of `like`, or not at all for None."""
    spec = explicit_spec(like)
    if spec is None:
        return array
    mesh = jax.typeof(like).sharding.mesh
    wanted = PartitionSpec(*[None if axis is None else spec[axis] for axis in axes])
    return jax.sharding.reshard(array, NamedSharding(mesh, wanted))


def contracted_sharding(a: Any, b: Any, heads: int = 0) -> NamedSharding | None:
    """The `out_sharding` of a product that keeps the last axis of each operand alone, after so many axes of `heads`,
    where types have shardings."""
    spec = explicit_spec(b) or explicit_spec(a)
    if spec is None:
        return None
    mesh = jax.typeof(b if explicit_spec(b) else a).sharding.mesh
    of_a, of_b = explicit_spec(a), explicit_spec(b)
    return NamedSharding(mesh, PartitionSpec(*[None] * heads, of_a and of_a[-1], of_b and of_b[-1]))


def result_type(shape: Sequence[int], dtype: Any, like: Any) -> jax.ShapeDtypeStruct:
    """The type of a foreign call's result: inside `jax.shard_map` it varies along the axes that `like` does."""
    varies = jax.typeof(like).manual_axis_type
    if not varies.varying:
        return jax.ShapeDtypeStruct(shape, dtype)
    whole = NamedSharding(jax.typeof(like).sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=whole, manual_axis_type=varies)


def is_symbolic(tree: Any) -> bool:
    """Whether some size is not known, as in `jax.export` of symbolic shapes."""
    return not all(isinstance(size, int) for leaf in jax.tree.leaves(tree) for size in leaf.shape)


def platforms(tree: Any) -> set[str]:
    """Those that the arrays are on, as far as they are there already."""
    there = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)]
    return {device.platform for array in there for device in array.devices()}
