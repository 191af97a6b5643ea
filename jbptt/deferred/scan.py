"""`lax.scan` for any body, with the weight gradients taken after the backward scan: what the engine does for its cells,
done for cells that it never saw.

JAX's derivative of a scan adds, at every step back, δᵗ (aᵗ)ᵀ into a carry of the weight's size. Here the equation that
`lax.scan` traces is read: wherever its body multiplies what varies from step to step, a, by a weight w, the product is
given a *perturbation*, a 0 that is added to it. Its cotangent is δᵗ, which a scan stacks and does not add; and the a of
every step is put out beside. Then ∂C/∂w = Σ_t δᵗ (aᵗ)ᵀ is one product. Everything else is JAX's own; and where a body
has something that this cannot keep exactly, all of it is.

The residuals are what JAX's derivative of the scan keeps, every product's a [T, ...], and the constants.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jbptt._jax import programs
from jbptt._jax.types import varying, varying_over
from jbptt.autodiff import HandDerived
from jbptt.deferred.body import Body


def scan(
    f: Callable,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
) -> tuple[Any, Any]:
    """`lax.scan`: its arguments, its results and its errors; faster to differentiate where the body has large weights.

    - `f(carry, x) -> (carry, y)`: any body, of any library, closed over its weights.
    - `init`, `xs`, `length`, `reverse`, `unroll`, `_split_transpose`: as `lax.scan` takes them.

    Returns (last carry, ys). It is `lax.scan` itself where no product of the body is to be deferred
    (`Body.products`): no weight is large enough, or none can be differentiated; where the body has effects or Refs;
    where arrays are sharded in their types; and under `jax.disable_jit`.
    """

    def itself():
        return lax.scan(f, init, xs, length, reverse, unroll, _split_transpose)

    if programs.are_disabled() or not all(map(programs.is_array, jax.tree.leaves((init, xs)))):
        return itself()
    traced, shapes = jax.make_jaxpr(itself, return_shape=True)()  # raises what lax.scan raises, and has JAX cache f
    program = programs.inlined(traced)
    scanned = programs.only_scan(program)
    body = None if scanned is None else Body(scanned)
    if body is None or not body.products or not _is_kept_exactly(program, body):
        return itself()

    def evaluated(line, operands):
        if line is not scanned:  # a carry that begins as a Python number is made the array that it becomes
            return programs.evaluated(line, operands)
        carry_at, xs_at = body.n_consts, body.n_consts + body.n_carry
        return deferred(body, operands[:carry_at], operands[carry_at:xs_at], operands[xs_at:], vjp="manual")

    outs = programs.run(program.lines, program.outs, [], evaluated)
    return jax.tree.unflatten(jax.tree.structure(shapes), outs)


def _is_kept_exactly(program, body):
    """Whether all that this scan does is among what is rewritten here."""
    equation = body.scan.equation
    if not all(map(programs.does_no_more_than_compute, (program, body.program))) or programs.is_sharded_in_types(
        equation
    ):
        return False
    axes = programs.axes_of_devices(equation.invars)
    return not axes or programs.takes_varying_constants(equation, body.program, axes)


def _scan(body, consts, init, xs):
    if not varying_over((consts, init, xs)):
        return programs.evaluated(body.scan, [*consts, *init, *xs])  # the equation that lax.scan traced
    length = body.params["length"]
    carry, ys = lax.scan(lambda carry, x: body.step(consts, carry, x), init, xs, length, **_options(body))
    return [*carry, *ys]


def _forward_residuals(body, consts, init, xs):
    axes = varying_over((consts, init, xs))  # each device's perturbations are its own: not to be summed over devices
    weights = body.weights(consts)
    zeros = [  # negative, for -0 is what changes nothing when it is added: 0 makes a 0 of -0
        varying(jnp.full((body.params["length"], *product.z.shape), -0.0, product.z.dtype), axes)
        for product in body.products
    ]

    def perturbed(consts, init, xs, perturbations):
        def step(carry, given):
            return body.perturbed_step(weights, consts, carry, *given)

        carry, (ys, operands) = lax.scan(step, init, (xs, perturbations), **_options(body))  # as long as those are
        return [*carry, *ys], operands

    out, vjp, operands = jax.vjp(perturbed, consts, init, xs, zeros, has_aux=True)
    return out, (vjp, operands)


def _backward(body, residuals, cotangents):
    (consts, *_), _, (vjp, operands) = residuals
    dconsts, dinit, dxs, deltas = vjp(_with_float0(body, cotangents))
    weights, weights_vjp = jax.vjp(body.weights, consts)
    dweights = [
        product.weight_gradient(a, delta).astype(w.dtype)  # Σ_t δᵗ (aᵗ)ᵀ
        for product, a, delta, w in zip(body.products, operands, deltas, weights, strict=True)
    ]
    (more,) = weights_vjp(dweights)
    dconsts, more, dinit, dxs = (_without_float0(tree) for tree in (dconsts, more, dinit, dxs))
    return jax.tree.map(jnp.add, dconsts, more), dinit, dxs


def _with_float0(body, cotangents):
    """JAX's own zero in the place of None, the cotangent of an integer."""
    return [
        np.zeros(variable.aval.shape, jax.dtypes.float0) if cotangent is None else cotangent
        for cotangent, variable in zip(cotangents, body.scan.equation.outvars, strict=True)
    ]


def _without_float0(cotangents):
    return jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, cotangents)


def _options(body):
    """`lax.scan`'s, but for the length: one that is a symbol it takes from xs alone."""
    names = {"reverse", "unroll", "_split_transpose"} & body.params.keys()
    return {name: body.params[name] for name in names}


deferred = HandDerived(_scan, _forward_residuals, _backward, static=1)
"""deferred(body, consts, init, xs, vjp=...) -> [*carry, *ys]."""
