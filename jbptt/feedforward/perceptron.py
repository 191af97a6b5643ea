"""The multilayer perceptron, the lecture's first half. Layers l = 1..L, a⁰ = x, y = aᴸ.

zˡ = wˡ aˡ⁻¹ + bˡ            aˡ = f(zˡ)
δᴸ = ∇_y C ⊙ f′(zᴸ)          δˡ = (wˡ⁺¹)ᵀ δˡ⁺¹ ⊙ f′(zˡ)
∂C/∂wˡ = δˡ (aˡ⁻¹)ᵀ          ∂C/∂bˡ = δˡ
"""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.autodiff import HandDerived, Vjp
from jbptt.feedforward.activations import Activation, check_activation, tanh
from jbptt.feedforward.layer import Params, affine, affine_vjp, check_layer

_glorot = jax.nn.initializers.glorot_uniform()


def mlp_init(key: jax.Array, sizes: Sequence[int], *, bias: bool = True, dtype=jnp.float32) -> list[Params]:
    """Random parameters: Glorot-uniform weights (Glorot and Bengio 2010), zero biases.

    - `sizes`: [inputs, hidden..., outputs], at least two.

    Returns one {"w" [sizes[l-1], sizes[l]], "b" [sizes[l]]} a layer. Raises ValueError or TypeError for bad sizes.
    """
    if not isinstance(sizes, Sequence):
        raise TypeError(f"sizes must be a sequence such as [inputs, hidden, outputs], got {type(sizes).__name__}")
    checks.key("key", key)
    checks.floating_dtype("dtype", dtype)
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold at least the input's and the output's, got {list(sizes)}")
    for number in sizes:
        checks.size("every one of sizes", number)
    keys = jax.random.split(key, len(sizes) - 1)
    layers = [{"w": _glorot(k, pair, dtype)} for k, pair in zip(keys, pairwise(sizes), strict=True)]
    return [layer | {"b": jnp.zeros(layer["w"].shape[1], dtype)} for layer in layers] if bias else layers


def mlp(
    params: Sequence[Params],
    x: jax.Array,
    *,
    activation: Activation = tanh,
    output_activation: Activation | None = None,
    vjp: Vjp = "manual",
) -> jax.Array:
    """A multilayer perceptron of any number of layers.

    - `params`: one {"w", "b"} a layer, as `mlp_init` makes them; "b" may be left out.
    - `x`: [..., I].
    - `activation`: f of every layer.
    - `output_activation`: f of the last layer, if another; `identity` gives the logits that the losses take.
    - `vjp`: "manual" or "auto".

    Returns y [..., O]. Raises ValueError for sizes that do not fit, TypeError for integers or mixed dtypes.
    """
    if not isinstance(params, (list, tuple)):
        raise TypeError(f"params must be a list, one dict a layer, got {type(params).__name__}")
    if not params:
        raise ValueError("params must hold at least one layer, got none")
    a = x = checks.floating("x", x, checks.FLOATS_FROM_INDICES)
    for number, layer in enumerate(params):
        check_layer(layer, f"params[{number}]", a, "x" if number == 0 else f"the output of params[{number - 1}]")
        a = jax.ShapeDtypeStruct((*x.shape[:-1], layer["w"].shape[1]), x.dtype)
    last = activation if output_activation is None else output_activation
    check_activation("activation", activation)
    check_activation("output_activation", last)
    return _mlp_by((*[activation] * (len(params) - 1), last), tuple(map(dict, params)), x, vjp=vjp)


def _mlp(activations, params, x):
    a = x
    for layer, f in zip(params, activations, strict=True):
        a = f(affine(layer, a))  # aˡ = f(zˡ)
    return a


def _forward_residuals(activations, params, x):
    a, saved = x, []
    for layer, f in zip(params, activations, strict=True):
        a_in, z = a, affine(layer, a)
        a = f(z)
        saved.append((a_in, f.kept(z, a)))
    return a, saved


def _backward(activations, residuals, dy):
    (params, _), _, saved = residuals
    da, dparams = dy, []
    for f, layer, (a_in, kept) in zip(reversed(activations), reversed(params), reversed(saved), strict=True):
        delta = da * f.prime(kept)  # δˡ = (wˡ⁺¹)ᵀ δˡ⁺¹ ⊙ f′(zˡ)
        dlayer, da = affine_vjp(layer, a_in, delta)
        dparams.append(dlayer)
    return tuple(reversed(dparams)), da


_mlp_by = HandDerived(_mlp, _forward_residuals, _backward, static=1)
