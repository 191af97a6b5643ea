"""z = a w within a scan's body, w a weight: ∂C/∂w = Σ_t δᵗ (aᵗ)ᵀ once, after the backward scan.

T time, K contracted, N the weight's others.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt._jax import programs
from jbptt.feedforward.layer import accumulator


class Product(NamedTuple):
    """A `lax.dot_general` without batch dimensions of what varies from step to step, a, with a weight.

    - `is_right`: whether the weight is the right operand.
    - `a_shape`, `w_shape`: of the operands; `a_axes`, `w_axes`: which of theirs are contracted, pairwise.
    - `z`: the product's shape and dtype.
    - `precision`, `dtype`: what the `dot_general` was told; dtype is its `preferred_element_type`.
    """

    is_right: bool
    a_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    a_axes: tuple[int, ...]
    w_axes: tuple[int, ...]
    z: jax.ShapeDtypeStruct
    precision: Any
    dtype: Any

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(rows of a, K, N)."""
        K = math.prod(self.a_shape[axis] for axis in self.a_axes)
        return math.prod(self.a_shape) // max(K, 1), K, math.prod(self.w_shape) // max(K, 1)

    def weight_gradient(self, a: jax.Array, delta: jax.Array) -> jax.Array:
        """Σ_t δᵗ (aᵗ)ᵀ in the weight's shape: JAX's transpose of `dot_general`, with time among what is contracted.

        Nothing is reshaped to [T·rows, K]: a partitioner could not keep a batch cut over devices through it.

        - `a` [T, *a_shape], `delta` [T, *z.shape].
        """
        a_free = [axis for axis in range(len(self.a_shape)) if axis not in self.a_axes]
        w_free = [axis for axis in range(len(self.w_shape)) if axis not in self.w_axes]
        before = 0 if self.is_right else len(w_free)  # δ's axes are its left operand's, then its right operand's
        rows = range(1 + before, 1 + before + len(a_free))
        dims = ((0, *(1 + axis for axis in a_free)), (0, *rows)), ((), ())
        precision, dtype = _swapped(self.precision), self._sum_dtype
        dw = lax.dot_general(a, delta, dims, precision=precision, preferred_element_type=dtype)
        axes = [*(w_axis for _, w_axis in sorted(zip(self.a_axes, self.w_axes, strict=True))), *w_free]
        return dw.transpose([axes.index(axis) for axis in range(len(axes))])

    @property
    def _sum_dtype(self):
        """The product's own, but float32 at least, for the sum is over time as well; a named algorithm has its own."""
        names_algorithm = isinstance(self.precision, lax.DotAlgorithm | lax.DotAlgorithmPreset)
        return self.dtype if names_algorithm else accumulator(self.z)


def _swapped(precision):
    """JAX's transpose keeps the precisions in their order and has δ on the left; here δ is on the right, which is
    faster."""
    if isinstance(precision, lax.DotAlgorithm):
        left, right = precision.lhs_precision_type, precision.rhs_precision_type
        return precision._replace(lhs_precision_type=right, rhs_precision_type=left)
    return precision[::-1] if isinstance(precision, tuple) else precision


def product_of(equation: programs.Equation, is_right: bool) -> Product | None:
    """The product that this equation is, with its right or left operand for the weight, if it is worth deferring."""
    params = equation.params
    axes, batch = params["dimension_numbers"]
    operands, (z,) = (list(map(programs.array_type, variables)) for variables in (equation.invars, equation.outvars))
    if any(batch) or params["out_sharding"] is not None or not programs.is_asked_for_nothing(equation):
        return None
    if not all(map(_is_strong_float, (*operands, z))):
        return None
    a, w = (0, 1) if is_right else (1, 0)
    product = Product(
        is_right,
        operands[a].shape,
        operands[w].shape,
        tuple(axes[a]),
        tuple(axes[w]),
        jax.ShapeDtypeStruct(z.shape, z.dtype),
        params["precision"],
        params["preferred_element_type"],
    )
    return product if worth_deferring(product) else None


def _is_strong_float(aval):
    """Of 16 bits at least, and of a dtype of its own: a gradient has the weak type of what it is the gradient of."""
    return jnp.issubdtype(aval.dtype, jnp.floating) and aval.dtype.itemsize >= 2 and not aval.weak_type


def worth_deferring(product: Product) -> bool:
    """A weight's gradient costs, in the carry, a pass over K·N entries a step; deferred, rows·(K + N) entries of a and
    δ to be stored and read. Measured: benchmarks/NOTES.md. Sizes that are symbols are not compared."""
    if not all(isinstance(size, int) for size in (*product.a_shape, *product.w_shape)):
        return False
    rows, K, N = product.sizes
    return rows * (K + N) <= K * N
