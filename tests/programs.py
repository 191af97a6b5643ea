"""What a traced program holds."""

import jax
from helpers import cotangent_patterns

from jbptt.comparison.pair import value_and_gradients


def equations(jaxpr):
    """Every equation, those of inner jaxprs too."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(parameter):
                yield from equations(getattr(parameter, "jaxpr", parameter))


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def traced(fn, args):
    """The jaxpr of the value and every gradient."""
    cotangents = cotangent_patterns(fn, args)["all outputs"]
    return jax.make_jaxpr(value_and_gradients(fn))(args, cotangents).jaxpr


def reverse_carries(jaxpr):
    """The shapes in the carry of every scan that runs back in time: what leaves the scan as it leaves one step.

    (What the steps put out beside the carry leaves the scan stacked, with a time axis more.)
    """
    shapes = []
    for equation in equations(jaxpr):
        if equation.primitive.name == "scan" and equation.params["reverse"]:
            of_step = equation.params["jaxpr"].out_avals
            of_scan = [variable.aval for variable in equation.outvars]
            shapes.append([a.shape for a, b in zip(of_scan, of_step, strict=True) if a.shape == b.shape])
    return shapes
