"""What a cell is, and the pieces that cells are made of.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.feedforward.layer import bias_gradient, times_transposed, weight_gradient

Params = dict[str, jax.Array]
State = Any
"""A NamedTuple of arrays, [B, H] mostly, whose first field is the output `h`. What is an integer has no gradient:
its cotangent is None."""

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Of parameters, by their keys: in symbols, and in numbers."""


H_MASK = "h_mask"
"""The key that the engine adds to parameters for recurrent dropout (Gal and Ghahramani 2016): a mask [B, H], the same
at every step, of h as the recurrent product sees it. Its entries are 0 or 1/(1 − rate)."""


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
    - `project_vjp(params, xs, deltas) -> (dparams, dxs)`: its way back; only the entries of `params` that it uses.
    - `step(params, state, z) -> (state, saved)`: one time step; z is None where there is no input.
    - `way_back(params) -> way_back`: what `step_vjp` needs of the parameters, made once before the way back (Wᵀ).
    - `step_vjp(way_back, kept, dstate) -> (dstate, delta)`: from ∂C/∂state after the step to ∂C/∂state before it,
      and δ = ∂C/∂z; a cell with more than one δ a step gives a tuple of them. No weight gradient is needed to go
      back in time.
    - `weight_vjp(params, kept, deltas) -> dparams`: Σ_t δᵗ (aᵗ⁻¹)ᵀ, run once, after the way back; only the
      entries of `params` that `step` uses. `deltas` is every step's δ, stacked.
    - `reference`: where its equations come from.
    - `masks_h`: whether its recurrent product is of `masked(params, h)`, so that it can have recurrent dropout.
    - `attends`: whether a memory is to be made a part of its parameters before it steps.
    - `kernel`: of a cell whose whole recurrence jbptt/kernels can run.
    """

    name: str
    init: Callable[..., Params]
    initial_state: Callable[[Params, tuple[int, ...]], State]
    check: Callable[[Params, jax.Array], None]
    project: Callable[[Params, jax.Array], jax.Array]
    project_vjp: Callable[[Params, jax.Array, Any], tuple[Params, jax.Array]]
    step: Callable[[Params, State, jax.Array | None], tuple[State, Any]]
    way_back: Callable[[Params], Params]
    step_vjp: Callable[[Params, Kept, State], tuple[State, Any]]
    weight_vjp: Callable[[Params, Kept, Any], Params]
    reference: str = ""
    masks_h: bool = False
    attends: bool = False
    kernel: "Kernel | None" = None


class Kernel(NamedTuple):
    """What jbptt/kernels has to know of a cell whose whole recurrence it can run.

    - `kind`: the kernel's name.
    - `runs`: `own_functions` of the cell that it runs; one made from it with others is not run.
    - `peepholes`: the gates that see the cell state, among "ifo".
    """

    kind: str
    runs: tuple[Callable, ...]
    peepholes: str = ""


def own_functions(cell: Cell) -> tuple[Callable, ...]:
    """All of a cell's mathematics, forward and back."""
    return cell.project, cell.project_vjp, cell.step, cell.way_back, cell.step_vjp, cell.weight_vjp


def masked(params: Params, h: jax.Array) -> jax.Array:
    """h ⊙ m, [..., H], under recurrent dropout; else h. It is its own way back."""
    return h * jnp.broadcast_to(params[H_MASK], h.shape) if H_MASK in params else h


def project(params: Params, xs: jax.Array) -> jax.Array:
    """x U: the `project` of most cells."""
    return jnp.dot(xs, params["U"])


def project_vjp(params: Params, xs: jax.Array, deltas: jax.Array) -> tuple[Params, jax.Array]:
    """({"U": Σ_t δᵗ (xᵗ)ᵀ}, Uᵀ δᵗ): from every δ at x U."""
    return {"U": weight_gradient(xs, deltas)}, times_transposed(deltas, params["U"])


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


def check_init(input_size: int, hidden_size: int, dtype: Any) -> None:
    """Raises TypeError or ValueError for what no cell can be initialised with."""
    checks.size("input_size", input_size)
    checks.size("hidden_size", hidden_size)
    checks.floating_dtype("dtype", dtype)


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
