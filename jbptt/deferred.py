"""`lax.scan` for any body, with the weight gradients taken after the way back: what the engine does for its cells, done
for cells that it never saw.

JAX's derivative of a scan adds, at every step back, δᵗ (aᵗ)ᵀ into a carry of the weight's size. Here the body's program
is read: wherever it multiplies something that changes, a, by something that does not, a weight w or what is made of
weights alone, the product is given a *tap*, a 0 that is added to it. A tap's cotangent is δᵗ, which a scan stacks and
does not add; and the a of every step is put out beside. Then ∂C/∂w = Σ_t δᵗ (aᵗ)ᵀ is one product. Everything else is
JAX's own.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jbptt._jax import varying, varying_over
from jbptt.autodiff import HandDerived
from jbptt.feedforward.layer import weight_gradient

INLINED = ("jit", "pjit")
"""Calls that are but a name for their body."""


def scan(
    f: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int = 1
) -> tuple[Any, Any]:
    """`lax.scan`: its arguments, its results and its errors; faster to differentiate where the body has large weights.

    - `f(carry, x) -> (carry, y)`: any body, of any library, closed over its weights.
    - `init`, `xs`, `length`, `reverse`, `unroll`: as `lax.scan` takes them.

    Returns (last carry, ys). Where no product of the body is worth deferring (`worth_deferring`), it is `lax.scan`
    itself.
    """
    options = Options(length, reverse, unroll)
    last, _ = jax.eval_shape(lambda: lax.scan(f, init, xs, **options._asdict()))  # raises what lax.scan raises
    init = jax.tree.map(lambda leaf, of: jnp.asarray(leaf, of.dtype), init, last)
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(init, x)
    body = Body(closed.jaxpr, jax.tree.structure(shapes))
    if not body.products:
        return lax.scan(f, init, xs, **options._asdict())
    return deferred(body, options, closed.consts, init, xs, vjp="manual")


class Options(NamedTuple):
    """`lax.scan`'s."""

    length: int | None
    reverse: bool
    unroll: int


class Product(NamedTuple):
    """A product of what changes, a, with a weight: `lax.dot_general` without batch dimensions.

    - `is_right`: whether the weight is the right operand.
    - `a_shape`, `w_shape`: of the operands; `a_axes`, `w_axes`: which of theirs are contracted, pairwise.
    - `z`: the product's shape and dtype.
    """

    is_right: bool
    a_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    a_axes: tuple[int, ...]
    w_axes: tuple[int, ...]
    z: jax.ShapeDtypeStruct

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(rows of a, K contracted, N others of the weight)."""
        K = math.prod(self.a_shape[axis] for axis in self.a_axes)
        return math.prod(self.a_shape) // max(K, 1), K, math.prod(self.w_shape) // max(K, 1)

    def gradient(self, a: jax.Array, delta: jax.Array) -> jax.Array:
        """Σ_t δᵗ (aᵗ)ᵀ in the weight's shape, from those of all times, stacked."""
        rows, K, N = self.sizes
        free = [axis for axis in range(len(self.a_shape)) if axis not in self.a_axes]
        w_free = [axis for axis in range(len(self.w_shape)) if axis not in self.w_axes]
        if not self.is_right:  # w's axes are the first of the product's: to the end with them
            delta = jnp.moveaxis(delta, range(1, 1 + len(w_free)), range(-len(w_free), 0))
        a = a.transpose(0, *[1 + axis for axis in (*free, *self.a_axes)])
        T = a.shape[0]
        dw = weight_gradient(a.reshape(T * rows, K).astype(delta.dtype), delta.reshape(T * rows, N))  # [K, N]
        axes = (*self.w_axes, *w_free)
        return dw.reshape([self.w_shape[axis] for axis in axes]).transpose([axes.index(n) for n in range(len(axes))])


def worth_deferring(product: Product) -> bool:
    """A weight's gradient costs, in the carry, a pass over K·N entries a step; deferred, rows·(K + N) entries of a and
    δ to be stored and read. Measured: benchmarks/NOTES.md."""
    rows, K, N = product.sizes
    return rows * (K + N) <= K * N


class Value(NamedTuple):
    """A value in the body's program: `known` without the carry and x, so that it is the same at every step. `value` is
    None where only what is known is looked for."""

    value: Any
    known: bool


class Body:
    """The body as a program, its products with weights among it. (Compared and hashed by identity.)"""

    def __init__(self, jaxpr: core.Jaxpr, structure: Any):
        self._jaxpr, self._structure = jaxpr, structure
        self.products: list[Product] = []
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.constvars]
        jax.eval_shape(lambda consts: self._found_among(consts, self.products), shapes)

    def weights(self, consts: list) -> list:
        """Of every product its weight: a constant, or what is made of constants."""
        return self._found_among(consts, [])

    def _found_among(self, consts, products):
        found = []

        def on_product(product, eqn, a, w):
            products.append(product)
            found.append(w)

        unknown = [Value(None, False)] * len(self._jaxpr.invars)
        _walk(self._jaxpr, [*[Value(c, True) for c in consts], *unknown], on_product)
        return found

    def __call__(self, consts: list, carry: Any, x: Any, tapped: tuple[list, list] | None = None) -> tuple[Any, list]:
        """((carry, y), every product's a).

        - `tapped`: (weights, taps): what the products take in place of the weights that `consts` give, and what is
          added to them. So no gradient by `consts` goes through a product.
        """
        operands = []

        def on_product(product, eqn, a, w):
            number = len(operands)
            operands.append(a)
            w = w if tapped is None else tapped[0][number]
            z = eqn.primitive.bind(*((a, w) if product.is_right else (w, a)), **eqn.params)
            return z if tapped is None else z + tapped[1][number]

        leaves = jax.tree.leaves((carry, x))
        values = [*[Value(c, True) for c in consts], *[Value(leaf, False) for leaf in leaves]]
        outs = _walk(self._jaxpr, values, on_product)
        return jax.tree.unflatten(self._structure, [out.value for out in outs]), operands


def _walk(jaxpr, values, on_product):
    """Evaluates the program; `on_product(product, eqn, a, w)` gives the value of a product that is worth deferring."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))

    def read(variable):
        return Value(variable.val, True) if isinstance(variable, core.Literal) else env[variable]

    for eqn in jaxpr.eqns:
        ins = [read(variable) for variable in eqn.invars]
        if eqn.primitive.name in INLINED:
            closed = eqn.params["jaxpr"]
            outs = _walk(closed.jaxpr, [*[Value(c, True) for c in closed.consts], *ins], on_product)
        elif eqn.primitive.name == "pvary":  # recorded of weights that were the same on every device
            outs = [Value(varying(array, eqn.params["axes"]), known) for array, known in ins]
        elif (product := _product(eqn, ins)) is not None:
            a, w = (ins[0], ins[1]) if product.is_right else (ins[1], ins[0])
            outs = [Value(on_product(product, eqn, a.value, w.value), False)]
        else:
            outs = _evaluated(jaxpr, eqn, ins)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _product(eqn, ins):
    """The product that this equation is, if it is one, with one known operand, and worth deferring; else None."""
    if eqn.primitive.name != "dot_general" or ins[0].known == ins[1].known:
        return None
    axes, batch = eqn.params["dimension_numbers"]
    out = eqn.outvars[0].aval
    if any(batch) or not jnp.issubdtype(out.dtype, jnp.floating):
        return None
    is_right = ins[1].known
    a, w = (0, 1) if is_right else (1, 0)
    shapes = [variable.aval.shape for variable in eqn.invars]
    z = jax.ShapeDtypeStruct(out.shape, out.dtype)
    product = Product(is_right, shapes[a], shapes[w], tuple(axes[a]), tuple(axes[w]), z)
    return product if worth_deferring(product) else None


def _evaluated(jaxpr, eqn, ins):
    known = all(value.known for value in ins)
    if not known and any(value.value is None and not value.known for value in ins):
        return [Value(None, False)] * len(eqn.outvars)
    values = {v: value.value for v, value in zip(eqn.invars, ins, strict=True) if not isinstance(v, core.Literal)}
    alone = jaxpr.replace(
        constvars=[],
        invars=list(values),
        outvars=eqn.outvars,
        eqns=[eqn],
        effects=eqn.effects,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    return [Value(out, known) for out in core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*values.values())]


def _scan(body, options, consts, init, xs):
    return lax.scan(lambda carry, x: body(consts, carry, x)[0], init, xs, **options._asdict())


def _scan_fwd(body, options, consts, init, xs):
    T = options.length if xs is None or not jax.tree.leaves(xs) else jax.tree.leaves(xs)[0].shape[0]
    axes = varying_over((consts, init, xs))  # each device's taps are its own: their cotangents are not to be summed
    taps = [varying(jnp.zeros((T, *product.z.shape), product.z.dtype), axes) for product in body.products]
    weights = body.weights(consts)

    def tapped(consts, init, xs, taps):
        def step(carry, x_and_taps):
            x, taps = x_and_taps
            (carry, y), operands = body(consts, carry, x, (weights, taps))
            return carry, (y, operands)

        carry, (ys, operands) = lax.scan(step, init, (xs, taps), **options._asdict())
        return (carry, ys), operands

    out, vjp, operands = jax.vjp(tapped, consts, init, xs, taps, has_aux=True)
    return out, (vjp, operands)


def _scan_bwd(body, options, residuals, cotangents):
    (consts, *_), out, (vjp, operands) = residuals
    dconsts, dinit, dxs, deltas = vjp(_with_float0(cotangents, out))
    weights, weights_vjp = jax.vjp(body.weights, consts)
    dweights = [
        product.gradient(a, delta).astype(w.dtype)  # Σ_t δᵗ (aᵗ)ᵀ
        for product, a, delta, w in zip(body.products, operands, deltas, weights, strict=True)
    ]
    (more,) = weights_vjp(dweights)
    dconsts, more, dinit, dxs = (_without_float0(tree) for tree in (dconsts, more, dinit, dxs))
    return jax.tree.map(jnp.add, dconsts, more), dinit, dxs


def _with_float0(cotangents, outs):
    """JAX's own zero in the place of None, the cotangent of an integer."""

    def of_leaf(cotangent, out):
        return np.zeros(out.shape, jax.dtypes.float0) if cotangent is None else cotangent

    return jax.tree.map(of_leaf, cotangents, outs, is_leaf=lambda leaf: leaf is None)


def _without_float0(cotangents):
    return jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, cotangents)


deferred = HandDerived(_scan, _scan_fwd, _scan_bwd, static=2)
"""deferred(body, options, consts, init, xs, vjp=...) -> (carry, ys)."""
