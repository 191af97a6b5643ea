"""z = a w + b, and δ aᵀ: the one place where a weight gradient is formed.

T time, B batch (any number of batch axes), I inputs, O outputs.

Row vectors, so the lecture's w a is a w here, and its δ aᵀ is aᵀ δ.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jbptt import checks
from jbptt._jax import types
from jbptt.autodiff import HandDerived, Vjp

Params = dict[str, jax.Array]


def dense(params: Params, x: jax.Array, *, vjp: Vjp = "manual") -> jax.Array:
    """z = x w + b.

    - `params`: {"w" [I, O], "b" [O]}; without "b" there is no bias.
    - `x`: [..., I], of the params' dtype (float32, float64 or bfloat16).
    - `vjp`: "manual" or "auto".

    Returns z [..., O]. Raises ValueError for sizes that do not fit, TypeError for integers or mixed dtypes.
    """
    x = checks.floating("x", x, checks.FLOATS_FROM_INDICES)
    check_layer(params, "params", x, "x")
    return _dense_by(dict(params), x, vjp=vjp)


def affine(params: Params, x: jax.Array) -> jax.Array:
    """x w + b without checks or a rule of its own: what `dense` and every hand-derived forward run."""
    z = jnp.dot(x, params["w"])  # [..., O]
    return z + jnp.broadcast_to(params["b"], z.shape) if "b" in params else z


def affine_vjp(params: Params, x: jax.Array, delta: jax.Array) -> tuple[Params, jax.Array]:
    """From δ = ∂C/∂z [..., O]: ({"w": δ xᵀ, "b": Σ δ}, dx = wᵀ δ)."""
    dparams = {"w": weight_gradient(x, delta)}
    if "b" in params:
        dparams["b"] = bias_gradient(delta)
    return dparams, times_transposed(delta, params["w"])


def times_transposed(delta: jax.Array, w: jax.Array) -> jax.Array:
    """wᵀ δ, the step back through z = a w: δ [..., O] with w [I, O] gives ∂C/∂a [..., I]."""
    return lax.dot_general(delta, w, (((delta.ndim - 1,), (1,)), ((), ())))  # δ wᵀ, for δ is a row here


def weight_gradient(a: jax.Array, delta: jax.Array) -> jax.Array:
    """∂C/∂w = Σ δ aᵀ over every leading axis (all T·B rows): one product. a [..., I], δ [..., O] -> [I, O].

    Sums in float32 at least, and gives them so. No reshape to [T·B, ·] comes before it: XLA could not partition that
    where the batch is sharded, and would gather it.
    """
    rows = tuple(range(a.ndim - 1))
    return lax.dot_general(  # aᵀ δ
        a,
        delta,
        ((rows, rows), ((), ())),
        preferred_element_type=accumulator(delta),
        out_sharding=types.contracted_sharding(a, delta),
    )


def bias_gradient(delta: jax.Array) -> jax.Array:
    """∂C/∂b = Σ δ over every leading axis. δ [..., O] -> [O]. Sums in float32 at least, and gives them so."""
    return jnp.sum(delta, axis=tuple(range(delta.ndim - 1)), dtype=accumulator(delta))


def accumulator(array: jax.Array | jax.ShapeDtypeStruct) -> jax.typing.DTypeLike:
    """The dtype in which entries of `array` are summed."""
    return jnp.float32 if array.dtype.itemsize < 4 else array.dtype


def check_layer(
    params: Params, params_name: str, x: jax.Array | jax.ShapeDtypeStruct, x_name: str, w: str = "w", b: str = "b"
) -> None:
    """Raises ValueError or TypeError, naming the argument, unless x w + b can be formed.

    - `x`: an array or a `jax.ShapeDtypeStruct`.
    - `w`, `b`: the keys of the weight and the bias.
    """
    checks.keys(params_name, params, {w}, {b}, f"{w!r} is [I, O], and {b!r}, the bias, is [O]")
    w_name, b_name = f"{params_name}[{w!r}]", f"{params_name}[{b!r}]"
    weight = checks.parameter(w_name, params[w])
    if weight.ndim != 2:
        raise ValueError(f"{w_name} must have shape [I, O], got {list(weight.shape)}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        size = weight.shape[0]
        raise ValueError(f"{x_name} must have shape [..., I] with I = {size} as {w_name} has, got {list(x.shape)}")
    checks.same_dtype(x_name, x, w_name, weight)
    if b in params:
        bias = checks.parameter(b_name, params[b])
        checks.shape(b_name, bias, "[O]", (weight.shape[1],))
        checks.same_dtype(b_name, bias, w_name, weight)


def _forward_residuals(params, x):
    return affine(params, x), None


def _backward(residuals, delta):
    params, x = residuals.args
    return affine_vjp(params, x, delta)


_dense_by = HandDerived(affine, _forward_residuals, _backward)
