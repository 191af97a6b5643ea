"""The lecture's four networks: a cell, and an output layer y = f(z°), z° = V h + c, at the times that have an output.

    SISO   x at t = 1 only        y at t = T only
    SIMO   x at t = 1 only        yᵗ at every t
    MISO   xᵗ at every t          y at t = T only
    MIMO   xᵗ at every t          yᵗ at every t

The cost is taken where the outputs are: c(y) at T, or c = Σ_t cᵗ(yᵗ), a loss with `reduction="sum"`.
Their backward is the chain of two: the output layer's δ° = ∇_y C ⊙ f′(z°) gives ∂C/∂h = Vᵀ δ° and
∂C/∂V = Σ δ° hᵀ; the recurrence takes ∂C/∂h back through time.

T time, B batch (any number of batch axes, none included), I inputs, H units, O outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.autodiff import Vjp
from jbptt.cells.pieces import features_of_h
from jbptt.cells.rule import Cell, State
from jbptt.feedforward.activations import Activation, identity
from jbptt.feedforward.layer import check_layer
from jbptt.feedforward.perceptron import mlp, mlp_init
from jbptt.unrolling import check_cell, run_free, unroll

Params = dict
"""{"cell": the cell's parameters, "V" [H, O], "c" [O]}; without "c" the output layer has no bias."""


def network_init(
    key: jax.Array,
    cell: Cell,
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    bias: bool = True,
    dtype=jnp.float32,
) -> Params:
    """Random parameters of any of the four networks.

    - `bias`: whether the output layer has one (the cell's is the cell's matter).

    Returns {"cell": cell.init's, "V" [H, O] Glorot-uniform, "c" [O] zero}. Raises ValueError or TypeError for bad
    sizes.
    """
    check_cell(cell)
    checks.key("key", key)
    checks.size("output_size", output_size)
    key_cell, key_output = jax.random.split(key)
    cell_params = cell.init(key_cell, input_size, hidden_size, dtype)
    features = features_of_h(cell, cell_params)  # a projected cell's h has fewer than H
    (layer,) = mlp_init(key_output, [features, output_size], bias=bias, dtype=dtype)
    params = {"cell": cell_params, "V": layer["w"]}
    return params | {"c": layer["b"]} if bias else params


def siso(
    cell: Cell,
    params: Params,
    x: jax.Array,
    length: int,
    state: State | None = None,
    *,
    activation: Activation = identity,
    vjp: Vjp = "manual",
) -> tuple[State, jax.Array]:
    """Single input, single output: x at t = 1, then length − 1 steps without input, y at t = length.

    - `x`: [B, I].
    - `length`: T ≥ 1.
    - `activation`: f of the output layer; the default gives the logits that the cross entropies take.
    - `state`, `vjp`: as in `unroll`.

    Returns (state, y [B, O]). Raises ValueError for a length below 1, TypeError for one that is no int or for an
    activation without its f′, and what `unroll` raises.
    """
    last, _, _ = _single_input(cell, params, x, length, state, vjp)
    return last, _output(params, last.h, activation, vjp)


def simo(
    cell: Cell,
    params: Params,
    x: jax.Array,
    length: int,
    state: State | None = None,
    *,
    activation: Activation = identity,
    vjp: Vjp = "manual",
) -> tuple[State, jax.Array]:
    """Single input, multiple outputs: as `siso`, and yᵗ at every t.

    Returns (state, ys [T, B, O]).
    """
    state, first, others = _single_input(cell, params, x, length, state, vjp)
    return state, _output(params, jnp.concatenate([first, others]), activation, vjp)


def miso(
    cell: Cell,
    params: Params,
    xs: jax.Array,
    state: State | None = None,
    *,
    activation: Activation = identity,
    vjp: Vjp = "manual",
    **options: Any,
) -> tuple[State, jax.Array]:
    """Multiple inputs, single output: xs [T, B, I], y at t = T. Keywords as in `siso`, and `unroll`'s: with `lengths`,
    y is that of each sequence's own last step.

    Returns (state, y [B, O]).
    """
    last, _ = unroll(cell, _cell_params(params), xs, state, vjp=vjp, **options)
    return last, _output(params, last.h, activation, vjp)


def mimo(
    cell: Cell,
    params: Params,
    xs: jax.Array,
    state: State | None = None,
    *,
    activation: Activation = identity,
    vjp: Vjp = "manual",
    **options: Any,
) -> tuple[State, jax.Array]:
    """Multiple inputs, multiple outputs: xs [T, B, I], yᵗ at every t. Keywords as in `siso`, and `unroll`'s; with a
    `compute_dtype`, V and c must be of it.

    Returns (state, ys [T, B, O]).
    """
    state, hs = unroll(cell, _cell_params(params), xs, state, vjp=vjp, **options)
    return state, _output(params, hs, activation, vjp)


def _single_input(cell, params, x, length, state, vjp):
    """(state after the last step, h of the first step [1, B, H], of the others [T-1, B, H])"""
    checks.size("length", length)
    x = checks.floating("x", x, checks.FLOATS_FROM_INDICES)
    if x.ndim == 0:
        raise ValueError("x must have shape [B, I] (or [I] without a batch), got a scalar")
    state, first = unroll(cell, _cell_params(params), x[None], state, vjp=vjp)
    state, others = run_free(cell, params["cell"], length - 1, state, vjp=vjp)
    return state, first, others


def _cell_params(params):
    checks.keys("params", params, {"cell", "V"}, {"c"}, "make it with jbptt.network_init")
    return params["cell"]


def _output(params, h, activation, vjp):
    output = {key: params[key] for key in ("V", "c") if key in params}
    V = checks.parameter("params['V']", params["V"])
    if V.ndim != 2 or V.shape[0] != h.shape[-1]:
        raise ValueError(f"params['V'] must have shape [H, O] with H = {h.shape[-1]}, got {list(V.shape)}")
    check_layer(output, "params", h, "the cell's h", w="V", b="c")
    layer = {"w": params["V"]} | ({"b": params["c"]} if "c" in params else {})
    return mlp([layer], h, activation=activation, vjp=vjp)
