"""A scan's body, read: which of its values are the same at every step, and which products with those may be deferred.

A weight's gradient may be summed over time first and go the rest of the way back, from the product's weight to the
scan's constants, once, where that rest is linear in the cotangent. JAX's own derivatives are, be the function linear
or not, as long as what it is given is the same at every step. A user's rule (`jax.custom_vjp`: clipping, say) need not
be; so nothing goes through one, nor through a primitive that is not known here.
"""

from enum import IntEnum
from typing import Any

import jax.numpy as jnp

from jbptt._jax import programs, types
from jbptt.deferred.product import Product, product_of


class Role(IntEnum):
    """What a value within the body is made of. The greatest of the operands' is the result's."""

    CONSTANT = 0  # nothing that has a cotangent
    DEFERRABLE = 1  # constants of the scan, and the way back to them is linear
    INVARIANT = 2  # constants of the scan
    VARYING = 3  # the carry or x


# fmt: off
LINEAR_BACK = frozenset({
    "add", "add_any", "sub", "neg", "mul", "div", "dot_general", "reduce_sum", "cumsum",
    "transpose", "reshape", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "gather", "concatenate",
    "pad", "rev", "select_n", "copy", "copy_p", "pvary", "stop_gradient",
    "abs", "sign", "max", "min", "clamp", "reduce_max", "reduce_min", "integer_pow", "pow", "square",
    "sqrt", "rsqrt", "cbrt", "exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "sin", "cos", "erf", "erf_inv",
})
# fmt: on
"""Primitives whose way back is linear in the cotangent. Not among them: what rounds a cotangent on purpose
(`reduce_precision`), what has a rule of its own, what holds a program (`cond`, `scan`, `remat`)."""


class Body:
    """The body of a scan. Equal to another of the same jaxpr and options, so that what is made of it is made once.

    - `scan`: the line of `lax.scan`'s equation.

    `products`: those to defer, in the program's order. `n_consts`, `n_carry`: how many of the scan's operands are
    constants, which come first, and how many the carry.
    """

    def __init__(self, scan: programs.Line):
        self.scan = scan._replace(ins=())  # whoever keeps this keeps no array alive, and no tracer
        self.params = scan.equation.params
        self.n_carry = _same_in_step(scan.equation.outvars, self.params["jaxpr"].out_avals)
        self.n_consts = _same_in_step(scan.equation.invars, self.params["jaxpr"].in_avals) - self.n_carry
        self.program = programs.inlined(self.params["jaxpr"])
        self.products: list[Product] = []
        self._weights: dict[int, Any] = {}  # of products: the number of the result, that of the weight
        self._invariant: list[programs.Line] = []  # what makes weights of constants
        traced = tuple(map(_may_be_perturbed, scan.ins[: self.n_consts]))
        self._read(traced)
        self._identity = (tuple(sorted(self.params.items())), traced)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def _read(self, traced):
        avals = self.params["jaxpr"].in_avals
        roles = dict(enumerate([Role.VARYING] * len(avals)))
        for number, is_traced in enumerate(traced):
            roles[number] = Role.DEFERRABLE if is_traced and _is_real(avals[number]) else Role.CONSTANT
        for line in self.program.lines:
            of_ins = [
                Role.CONSTANT if isinstance(operand, programs.Constant) else roles[operand] for operand in line.ins
            ]
            product = _product(line, of_ins)
            if product is not None:
                self.products.append(product)
                self._weights[line.outs[0]] = line.ins[product.is_right]
            role = max(of_ins, default=Role.CONSTANT)
            if role <= Role.DEFERRABLE:
                self._invariant.append(line)
            for number, variable in zip(line.outs, line.equation.outvars, strict=True):
                roles[number] = _role(line, role, variable.aval)

    def weights(self, consts: list) -> list:
        """Of every product its weight: a constant, or what is made of constants."""
        return programs.run(self._invariant, self._weights.values(), consts, programs.evaluated)

    def step(self, consts: list, carry: list, x: list) -> tuple[list, list]:
        """(carry, y)."""
        return self._run(programs.evaluated, consts, carry, x)

    def perturbed_step(
        self, weights: list, consts: list, carry: list, x: list, perturbations: list
    ) -> tuple[list, tuple[list, list]]:
        """(carry, (y, every product's a)).

        - `weights`: what the products take in place of the weights that `consts` give, so that no gradient by `consts`
          goes through a product.
        - `perturbations`: what is added to the products.
        """
        varying, given = [], zip(self.products, weights, perturbations, strict=True)

        def evaluated(line, operands):
            if line.outs[0] not in self._weights:
                return programs.evaluated(line, operands)
            product, w, perturbation = next(given)
            a = operands[not product.is_right]
            varying.append(a)
            (z,) = programs.evaluated(line, [a, w] if product.is_right else [w, a])
            return [z + perturbation]

        carry, y = self._run(evaluated, consts, carry, x)
        return carry, (y, varying)

    def _run(self, evaluated, consts, carry, x):
        outs = programs.run(self.program.lines, self.program.outs, [*consts, *carry, *x], evaluated)
        return outs[: self.n_carry], outs[self.n_carry :]


def _same_in_step(variables, of_step):
    """How many of a scan's operands or results are whole within a step; the others, xs and ys, are stacked outside."""
    return sum(variable.aval.ndim == aval.ndim for variable, aval in zip(variables, of_step, strict=True))


def _may_be_perturbed(operand):
    """Of an array that is no tracer nobody can ask a gradient."""
    return not isinstance(operand, programs.Constant) or types.is_traced(operand.value)


def _product(line, roles):
    """The product to defer that this line is, if it is one."""
    if line.name != "dot_general" or sorted(roles) != [Role.DEFERRABLE, Role.VARYING]:
        return None
    return product_of(line.equation, is_right=roles[1] == Role.DEFERRABLE)


def _role(line, role, aval):
    """Of a result, whose operands' greatest role this is."""
    if role != Role.VARYING and not _is_real(aval):
        return Role.CONSTANT
    return Role.INVARIANT if role == Role.DEFERRABLE and not _is_linear_back(line) else role


def _is_linear_back(line):
    if line.name == "convert_element_type":  # a sum over time may be too large for float16, or for float8
        return jnp.finfo(line.equation.params["new_dtype"]).maxexp >= jnp.finfo(jnp.float32).maxexp
    return line.name in LINEAR_BACK


def _is_real(aval):
    """Whether it has a cotangent."""
    return jnp.issubdtype(aval.dtype, jnp.inexact)
