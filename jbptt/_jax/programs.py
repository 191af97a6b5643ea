"""Programs (jaxprs), read and run equation by equation."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

import jax
from jax.core import ShapedArray
from jax.extend import core
from jax.sharding import AxisType

from jbptt._jax.types import varying, varying_over

Equation = core.JaxprEqn
Jaxpr = core.Jaxpr | core.ClosedJaxpr  # JAX 0.12 has one of them


class Constant(NamedTuple):
    """An operand that the program itself holds: a literal, or what it closes over."""

    value: Any


class Line(NamedTuple):
    """One equation of a program. Its operands and results are known by their numbers.

    - `ins`: numbers, or `Constant`s; `outs`: numbers.
    - `debug_info`: of the jaxpr that it stands in.
    """

    equation: Equation
    ins: tuple
    outs: tuple[int, ...]
    debug_info: Any

    @property
    def name(self) -> str:
        return self.equation.primitive.name


class Program(NamedTuple):
    """A jaxpr whose plain `jit`s are written out. Its arguments are numbered 0, 1, ...

    - `outs`: numbers, or `Constant`s.
    """

    lines: tuple[Line, ...]
    outs: tuple


def inlined(jaxpr: Jaxpr) -> Program:
    """The program of a closed jaxpr."""
    numbers, lines = count(), []

    def walk(closed, ins):
        jaxpr = closed.jaxpr
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(Constant, closed.consts), *ins], strict=True))
        debug_info = jaxpr.debug_info.with_unknown_names()

        def read(variable):
            return Constant(variable.val) if isinstance(variable, core.Literal) else env[variable]

        for equation in jaxpr.eqns:
            operands = tuple(map(read, equation.invars))
            if _is_plain_call(equation):
                outs = walk(equation.params["jaxpr"], operands)
            else:
                outs = tuple(next(numbers) for _ in equation.outvars)
                lines.append(Line(equation, operands, outs, debug_info))
            env.update(zip(equation.outvars, outs, strict=True))
        return tuple(map(read, jaxpr.outvars))

    outs = walk(jaxpr, [next(numbers) for _ in jaxpr.in_avals])
    return Program(tuple(lines), outs)


def run(lines: Iterable[Line], outs: Iterable, arguments: list, evaluated: Callable[[Line, list], list]) -> list:
    """The values of `outs`, numbers or `Constant`s, once each line is evaluated, by `evaluated(line, operands)`."""
    values = dict(enumerate(arguments))

    def read(operands):
        return [operand.value if isinstance(operand, Constant) else values[operand] for operand in operands]

    for line in lines:
        values |= zip(line.outs, evaluated(line, read(line.ins)), strict=True)
    return read(outs)


def evaluated(line: Line, operands: list) -> list:
    """What the equation gives, under its own name stack and metadata.

    Inside `jax.shard_map`, where a constant may have been made one that differs from device to device, the others are
    made so too, for JAX refuses to mix them.
    """
    equation, axes = line.equation, varying_over(operands)
    if axes and line.name == "pvary":  # of what may be so already
        missing = tuple(axis for axis in equation.params["axes"] if axis not in varying_over(operands))
        return [equation.primitive.bind(*operands, axes=missing)] if missing else operands
    if axes:
        operands = [varying(jax.numpy.asarray(operand), axes) for operand in operands]
    variables: list[Any] = [core.Var(variable.aval) for variable in equation.invars]
    alone = core.Jaxpr(
        constvars=[],
        invars=variables,
        outvars=equation.outvars,
        eqns=[equation.replace(invars=variables)],
        effects=equation.effects,
        debug_info=line.debug_info,
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*operands)


def are_disabled() -> bool:
    """Whether everything is to be run as Python says it, under `jax.disable_jit`."""
    return jax.config.jax_disable_jit  # pyright: ignore[reportAttributeAccessIssue]  JAX sets its flags at run time


def only_scan(program: Program) -> Line | None:
    """The one scan in a program that is traced of `lax.scan`."""
    scans = [line for line in program.lines if line.name == "scan"]
    return scans[0] if len(scans) == 1 else None


def is_array(value: Any) -> bool:
    """Whether JAX takes it for an array: no Ref, and no type of a user's own."""
    try:
        return _is_array_type(jax.typeof(value))
    except TypeError:
        return False


def array_type(variable: Any) -> ShapedArray:
    """Of an operand or result that is an array: what equations have beside (Refs, tokens) has no shape or sharding."""
    return variable.aval


def does_no_more_than_compute(program: Program) -> bool:
    """Arrays go in and come out of every equation, and nothing else happens: no effects, no Refs."""
    equations = [line.equation for line in program.lines]
    avals = [v.aval for equation in equations for v in (*equation.invars, *equation.outvars)]
    return all(map(_is_array_type, avals)) and not any(equation.effects for equation in equations)


def is_sharded_in_types(equation: Equation) -> bool:
    """Whether some operand's mesh, or the mesh of `jax.set_mesh`, has axes that are explicit."""
    meshes = [jax.sharding.get_abstract_mesh(), *(array_type(variable).sharding.mesh for variable in equation.invars)]
    return any(AxisType.Explicit in mesh.axis_types for mesh in meshes)


def axes_of_devices(variables: Iterable) -> frozenset[str]:
    """Inside `jax.shard_map`: the axes along which one of them may differ."""
    return frozenset().union(*(array_type(variable).manual_axis_type.varying for variable in variables))


def takes_varying_constants(equation: Equation, body: Program, axes: frozenset[str]) -> bool:
    """Inside `jax.shard_map`: whether a scan's operands may all be made ones that differ along these axes.

    Not where a result is known to be the same on every device; nor where programs within the body's equations
    (branches, loops) were traced of constants that are.
    """
    results = all(axes <= array_type(variable).manual_axis_type.varying for variable in equation.outvars)
    return results and all(map(_takes_varying, body.lines))


def _takes_varying(line):
    inner = list(core.jaxprs_in_params(line.equation.params))
    return not inner or (line.name == "custom_jvp_call" and not any(map(_mentions_devices, inner)))


def _mentions_devices(jaxpr):
    inner = (inner for equation in jaxpr.eqns for inner in core.jaxprs_in_params(equation.params))
    return any(equation.primitive.name == "pvary" for equation in jaxpr.eqns) or any(map(_mentions_devices, inner))


def is_asked_for_nothing(equation: Equation) -> bool:
    """No place to compute (`compute_on`) and no metadata for XLA."""
    return equation.ctx.compute_type is None and equation.ctx.xla_metadata is None


def _is_array_type(aval):
    return type(aval) is ShapedArray


def _is_plain_call(equation):
    """A `jit` that is but a name for its body: nothing is said of shardings, layouts or of how to compile it."""
    if equation.primitive.name not in ("jit", "pjit"):
        return False
    params = equation.params
    shardings = [*params["in_shardings"], *params["out_shardings"]]
    layouts = [*params["in_layouts"], *params["out_layouts"]]
    unsaid = all(type(sharding).__name__ == "UnspecifiedValue" for sharding in shardings)
    return unsaid and not any(layouts) and not params["compiler_options_kvs"] and is_asked_for_nothing(equation)
