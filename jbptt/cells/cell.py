"""What a cell is, and how most cells are made of a pointwise pair.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt import checks
from jbptt.feedforward.layer import bias_gradient, times_transposed, weight_gradient

Params = dict[str, jax.Array]
State = Any
"""A NamedTuple of arrays [B, H] whose first field is the output `h`."""


class Kept(NamedTuple):
    """What is known of a time step when its backward comes: h before it, h after it, and what `step` saved.

    The engine has every h anyway, so a step saves none. In `step_vjp` this is one step ([B, H]); in
    `weight_vjp` it is every step (the same, stacked: [T, B, H]).
    """

    h_prev: jax.Array
    h: jax.Array
    saved: Any


class Cell(NamedTuple):
    """A recurrent cell: pure functions, the backward ones derived by hand.

    - `name`: what messages and tables call it.
    - `init(key, input_size, hidden_size, dtype=float32) -> params`: random parameters, a dict.
    - `initial_state(params, batch_shape) -> state`: zeros.
    - `check(params, x)`: raises ValueError or TypeError unless x, [..., I], fits these parameters.
    - `project(params, xs) -> zs`: what needs no state, the input's product: [..., I] -> [..., G·H], for one step or
      for the whole time axis at once.
    - `project_vjp(params, xs, dzs) -> (dparams, dxs)`: its way back; only the entries of `params` that it uses.
    - `step(params, state, z) -> (state, saved)`: one time step; z is None where there is no input.
    - `way_back(params) -> way_back`: what `step_vjp` needs of the parameters, made once before the way back (Wᵀ).
    - `step_vjp(way_back, kept, dstate) -> (dstate, dz)`: its δ: from ∂C/∂state after the step to ∂C/∂state
      before it and dz = ∂C/∂z. No weight gradient is needed to go back in time.
    - `weight_vjp(params, kept, dzs) -> dparams`: Σ_t δᵗ (aᵗ⁻¹)ᵀ, run once, after the way back; only the
      entries of `params` that `step` uses.
    """

    name: str
    init: Callable[..., Params]
    initial_state: Callable[[Params, tuple[int, ...]], State]
    check: Callable[[Params, jax.Array], None]
    project: Callable[[Params, jax.Array], jax.Array]
    project_vjp: Callable[[Params, jax.Array, jax.Array], tuple[Params, jax.Array]]
    step: Callable[[Params, State, jax.Array | None], tuple[State, Any]]
    way_back: Callable[[Params], Params]
    step_vjp: Callable[[Params, Kept, State], tuple[State, jax.Array]]
    weight_vjp: Callable[[Params, Kept, jax.Array], Params]


def gated_cell(
    name: str,
    *,
    gates: int,
    state_type: type,
    init: Callable[..., Params],
    pointwise: Callable[[Params, jax.Array, jax.Array, State], tuple[State, Any]],
    pointwise_vjp: Callable[[Params, Kept, State], tuple[State, jax.Array]],
    recurrent_delta: Callable[[Kept, jax.Array], jax.Array] = lambda kept, dz: dz,
    pointwise_weight_vjp: Callable[[Params, Kept, jax.Array], Params] = lambda params, kept, dzs: {},
    per_unit: tuple[str, ...] = (),
) -> Cell:
    """A cell that is one product with h and then a pointwise function of x U + b and h W.

    - `gates`: G; parameters are "U" [I, G·H], "W" [H, G·H] and, for a bias, "b" [G·H].
    - `state_type`: the state's NamedTuple, `h` first, every field [B, H].
    - `pointwise(params, z, h W, state) -> (state, saved)`: z = x U + b.
    - `pointwise_vjp(params, kept, dstate) -> (dstate, dz)`: dstate without its way through h W.
    - `recurrent_delta(kept, dz)`: ∂C/∂(h W), where it is not dz itself.
    - `pointwise_weight_vjp(params, kept, dzs)`: gradients of parameters that `pointwise` uses, over all T.
    - `per_unit`: the names of those parameters, each [H] where there is one.
    """

    def initial_state(params, batch_shape):
        W = params["W"]
        return state_type(*[jnp.zeros((*batch_shape, W.shape[0]), W.dtype) for _ in state_type._fields])

    def check(params, x):
        _check_gated(name, gates, per_unit, params)
        U = params["U"]
        if x.shape[-1] != U.shape[0]:
            raise ValueError(f"xs must have I = {U.shape[0]} features as params['U'] has, got {list(x.shape)}")
        checks.same_dtype("xs", x, "params['U']", U)

    def project(params, xs):
        return jnp.dot(xs, params["U"])

    def project_vjp(params, xs, dzs):
        return {"U": weight_gradient(xs, dzs)}, times_transposed(dzs, params["U"])  # Σ_t δᵗ (xᵗ)ᵀ, Uᵀ δᵗ

    def step(params, state, z):
        hW = jnp.dot(state.h, params["W"])
        z = jnp.zeros_like(hW) if z is None else z
        if "b" in params:  # here, and not in `project`, it costs no pass over [T, B, G·H] of its own
            z = z + jnp.broadcast_to(params["b"], z.shape)
        return pointwise(params, z, hW, state)

    def way_back(params):
        # An array of its own: with few rows, a product with W read crosswise takes up to 2.5 times as long.
        return params | {"WT": lax.optimization_barrier(params["W"].T)}

    def step_vjp(way_back, kept, dstate):
        dstate, dz = pointwise_vjp(way_back, kept, dstate)
        return dstate._replace(h=dstate.h + jnp.dot(recurrent_delta(kept, dz), way_back["WT"])), dz  # Wᵀ δ

    def weight_vjp(params, kept, dzs):
        dW = weight_gradient(kept.h_prev, recurrent_delta(kept, dzs))  # Σ_t δᵗ (aᵗ⁻¹)ᵀ
        db = {"b": bias_gradient(dzs)} if "b" in params else {}
        return {"W": dW} | db | pointwise_weight_vjp(params, kept, dzs)

    return Cell(name, init, initial_state, check, project, project_vjp, step, way_back, step_vjp, weight_vjp)


def gated_init(gates: int, *, bias: bool) -> Callable[..., Params]:
    """The initialiser of a gated cell: each gate's block of U Glorot-uniform (Glorot and Bengio 2010), of W
    orthogonal (Saxe 2014), b zero."""

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        checks.size("input_size", input_size)
        checks.size("hidden_size", hidden_size)
        checks.floating_dtype("dtype", dtype)
        key_U, key_W = jax.random.split(key)
        params = {
            "U": _blocks(jax.nn.initializers.glorot_uniform(), key_U, gates, (input_size, hidden_size), dtype),
            "W": _blocks(jax.nn.initializers.orthogonal(), key_W, gates, (hidden_size, hidden_size), dtype),
        }
        return params | {"b": jnp.zeros(gates * hidden_size, dtype)} if bias else params

    return init


def blocks(array: jax.Array, gates: int) -> list[jax.Array]:
    """[..., G·H] as G arrays [..., H]."""
    return jnp.split(array, gates, axis=-1)


def join(*gates: jax.Array) -> jax.Array:
    """G arrays [..., H] as one [..., G·H]."""
    return jnp.concatenate(gates, axis=-1)


def _blocks(initializer, key, gates, shape, dtype):
    drawn_in = jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32  # no QR in bfloat16
    return join(*[initializer(k, shape, drawn_in).astype(dtype) for k in jax.random.split(key, gates)])


def _check_gated(name, gates, per_unit, params):
    checks.keys("params", params, {"U", "W"}, {"b", *per_unit}, f"make it with the init of {name}")
    U, W = (checks.parameter(f"params['{key}']", params[key]) for key in "UW")
    if W.ndim != 2 or W.shape[1] != gates * W.shape[0]:
        raise ValueError(f"params['W'] must have shape [H, G·H] with G = {gates} for {name}, got {list(W.shape)}")
    if U.ndim != 2 or U.shape[1] != W.shape[1]:
        raise ValueError(f"params['U'] must have shape [I, G·H] with G·H = {W.shape[1]}, got {list(U.shape)}")
    checks.same_dtype("params['W']", W, "params['U']", U)
    biases = {"b": ("[G·H]", W.shape[1])} | {key: ("[H]", W.shape[0]) for key in per_unit}
    for key, (symbols, length) in biases.items():
        if key in params:
            bias = checks.parameter(f"params['{key}']", params[key])
            checks.shape(f"params['{key}']", bias, symbols, (length,))
            checks.same_dtype(f"params['{key}']", bias, "params['U']", U)
