"""The pieces that cells are made of: the input's product, the bias, the masked h, and checks of parameters.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.rule import NO_COTANGENT, Cell, Consts, Params
from jbptt.feedforward.layer import bias_gradient, times_transposed, weight_gradient
from jbptt.feedforward.rows import is_index, rows_gradient, rows_of

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Of parameters, by their keys: in symbols, and in numbers."""


def masked(consts: Consts, h: jax.Array) -> jax.Array:
    """h ⊙ m, [..., H], under recurrent dropout; else h. It is its own vjp."""
    return h if consts.h_mask is None else h * jnp.broadcast_to(consts.h_mask, h.shape)


def with_params(consts: Consts, **more: jax.Array) -> Consts:
    """The constants with more among the parameters: what `prepare_backward` gives."""
    return consts._replace(params=consts.params | more)


def project(consts: Consts, xs: jax.Array) -> jax.Array:
    """x U: the `project` of most cells; of integers, each the index of an input that is 1, rows of U."""
    U = consts.params["U"]
    return rows_of(U, xs) if is_index(xs) else jnp.dot(xs, U)


def project_vjp(consts: Consts, xs: jax.Array, deltas: jax.Array) -> tuple[Consts, jax.Array]:
    """({"U": Σ_t δᵗ (xᵗ)ᵀ}, Uᵀ δᵗ): from every δ at x U. Integers have no gradient."""
    if is_index(xs):
        return Consts({"U": rows_gradient(xs, deltas, consts.params["U"].shape[0])}), NO_COTANGENT
    return Consts({"U": weight_gradient(xs, deltas)}), times_transposed(deltas, consts.params["U"])


def biased(params: Params, z: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """z + b, [..., G·H]; z None, no input, is 0 in that `shape`. In the step, and not in `project`, the bias costs no
    pass over [T, B, G·H] of its own."""
    z = jnp.zeros(shape, params["U"].dtype) if z is None else z
    return z + jnp.broadcast_to(params["b"], z.shape) if "b" in params else z


def scaled(p: jax.Array, array: jax.Array) -> jax.Array:
    """p ⊙ array: p [H] has an entry a unit, array [..., H]."""
    return jnp.broadcast_to(p, array.shape) * array


def bias_vjp(params: Params, deltas: jax.Array) -> Params:
    """{"b": Σ_t δᵗ}; {} without a bias."""
    return {"b": bias_gradient(deltas)} if "b" in params else {}


def maker_name(name: str, **options: tuple[Any, Any]) -> str:
    """What messages call a cell: `name`, or the call that makes it.

    - `options`: (value, default) of each of the maker's options.
    """
    given = [f"{option}={value!r}" for option, (value, default) in options.items() if value != default]
    return f"{name}_cell({', '.join(given)})" if given else name


LARGEST_WEIGHTS = 2**38
"""Entries: a terabyte in float32. XLA ends the process where a size in bytes overflows."""


def check_init(key: jax.Array, input_size: int, hidden_size: int, dtype: Any) -> None:
    """Raises TypeError or ValueError for what no cell can be initialised with."""
    checks.key("key", key)
    checks.size("input_size", input_size)
    checks.size("hidden_size", hidden_size)
    checks.floating_dtype("dtype", dtype)
    if (int(input_size) + int(hidden_size)) * int(hidden_size) > LARGEST_WEIGHTS:
        raise ValueError(
            f"input_size and hidden_size must be of weights that fit a memory, got {input_size} and {hidden_size}"
        )


def checked_start(name: str, params: Any, batch_shape: Any, weight: str = "U") -> tuple[jax.Array, tuple[int, ...]]:
    """(that of the parameters of the cell `name`, from which the state's sizes are known; the batch's shape).

    Raises ValueError or TypeError for other parameters, or what is no shape."""
    if not isinstance(params, Mapping) or weight not in params:
        got = sorted(map(str, params)) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(f"params must be those of one cell, as the init of {name} makes them, got {got}")
    return params[weight], checks.batch_shape("batch_shape", batch_shape)


def multiples_of(hidden_size: int, multiples: dict[str, tuple[int, ...]]) -> Shapes:
    """Shapes given in multiples of H: {"p": (3,)} is p [3·H]."""
    return {
        key: (f"[{', '.join('H' if n == 1 else f'{n}·H' for n in axes)}]", tuple(n * hidden_size for n in axes))
        for key, axes in multiples.items()
    }


def check_params(
    name: str,
    params: Any,
    x: jax.Array,
    *,
    gates: int,
    needed: set[str],
    optional: set[str],
    shapes: Callable[[int], Shapes],
) -> None:
    """Raises ValueError or TypeError unless these are parameters of the cell `name`, and x, [..., I], fits them.

    - `gates`: G of "U" [I, G·H], from which I and H are known; "b", if there is one, is [G·H].
    - `needed`, `optional`: the keys that must be there, and those that may.
    - `shapes(H)`: of every parameter but these two.
    """
    checks.keys("params", params, needed, optional, f"make it with the init of {name}")
    U = checks.parameter("params['U']", params["U"])
    if U.ndim != 2 or U.shape[1] % gates:
        raise ValueError(f"params['U'] must have shape [I, G·H] with G = {gates} for {name}, got {list(U.shape)}")
    H = U.shape[1] // gates
    for key, (symbols, shape) in (shapes(H) | {"b": ("[G·H]", (gates * H,))}).items():
        if key in params:
            value = checks.parameter(f"params['{key}']", params[key])
            if value.shape != shape:
                raise ValueError(
                    f"params['{key}'] must have shape {symbols} = {list(shape)}, got {list(value.shape)} "
                    f"(G = {gates} for {name}, and params['U'] is {list(U.shape)})"
                )
            checks.same_dtype(f"params['{key}']", value, "params['U']", U)
    if x.shape[-1] != U.shape[0]:
        raise ValueError(f"xs must have I = {U.shape[0]} features as params['U'] has, got {list(x.shape)}")
    checks.same_dtype("xs", x, "params['U']", U)


def features_of_h(cell: Cell, params: Params) -> int:
    """The features of h."""
    return jax.eval_shape(lambda: cell.initial_state(params, ())).h.shape[-1]


def blocks(array: jax.Array, gates: int) -> list[jax.Array]:
    """[..., G·H] as G arrays [..., H]."""
    return jnp.split(array, gates, axis=-1)


def join(*gates: jax.Array) -> jax.Array:
    """G arrays [..., H] as one [..., G·H]."""
    return jnp.concatenate(gates, axis=-1)
