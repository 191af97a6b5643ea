"""What a cell is: a rule, its mathematics, and the few functions that make and check its arrays.

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates, S positions of a memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jbptt.cells.making import reduced

Params = dict[str, jax.Array]
State = Any
"""A NamedTuple of arrays, [B, H] mostly, whose first field is the output `h`. What is an integer has no gradient:
its cotangent is None."""

NO_COTANGENT: Any = None
"""In the place of a cotangent: of what has none (an integer, a mask), or of what nobody asks for. (`Any`, as it stands
in a field that holds an array wherever there is one.)"""


class Memory(NamedTuple):
    """What a decoder attends to: an encoder's hs.

    - `values`: [B, S, M].
    - `keys`: [B, S, A], what queries meet.
    - `mask`: [B, S], 1 where there is something, 0 elsewhere.
    """

    values: jax.Array
    keys: jax.Array
    mask: jax.Array


class Consts(NamedTuple):
    """What every step of a sequence sees alike: what a scan's body closes over.

    - `params`: the cell's parameters.
    - `memory`: what a decoder attends to.
    - `h_mask`: [B, H], the recurrent dropout of h as the recurrent product sees it: 0 or 1/(1 − rate).
    """

    params: Params
    memory: Memory | None = None
    h_mask: jax.Array | None = None


class StepResiduals(NamedTuple):
    """What the backward pass of a step is given: h before it, h after it, and what `step` saved.

    The engine has every h anyway, so a step saves none. In `step_vjp` this is one step ([B, H]); in
    `weight_vjp` it is every step (the same, stacked: [T, B, H]).
    """

    h_prev: jax.Array
    h: jax.Array
    saved: Any


class Rule(NamedTuple):
    """A recurrent cell's mathematics: pure functions, the backward ones derived by hand. Hashable: what is made of a
    rule (compiled programs, kernels) is known by it, and one with a function replaced is another.

    - `project(consts, xs) -> zs`: what needs no state, the input's product: [..., I] -> [..., G·H], for one step or
      for the whole time axis at once.
    - `project_vjp(consts, xs, deltas) -> (dconsts, dxs)`: its backward; `dconsts` has only the parameters it uses.
    - `step(consts, state, z) -> (state, saved)`: one time step; z is None where there is no input.
    - `prepare_backward(consts) -> weights`: what `step_vjp` needs of the constants, made once before it (Wᵀ).
    - `step_vjp(weights, residuals, dstate) -> (dstate, delta)`: from ∂C/∂state after the step to ∂C/∂state before it,
      and δ = ∂C/∂z; a cell with more than one δ a step gives a tuple of them. No weight gradient is needed to go
      back in time.
    - `weight_vjp(consts, residuals, deltas) -> dconsts`: Σ_t δᵗ (aᵗ⁻¹)ᵀ, run once, after the backward scan; only the
      parameters that `step` uses, and the memory. `deltas` is every step's δ, stacked.
    - `reads`: the fields of `Consts` beside the parameters that it looks at: "h_mask" where its recurrent product is of
      `masked(consts, h)`, "memory" where it attends.
    - `takes_indices`: whether `project` and `project_vjp` take integers [...] too, each in the place of a one-hot row.
    """

    project: Callable[[Consts, jax.Array], jax.Array]
    project_vjp: Callable[[Consts, jax.Array, Any], tuple[Consts, jax.Array]]
    step: Callable[[Consts, State, jax.Array | None], tuple[State, Any]]
    prepare_backward: Callable[[Consts], Consts]
    step_vjp: Callable[[Consts, StepResiduals, State], tuple[State, Any]]
    weight_vjp: Callable[[Consts, StepResiduals, Any], Consts]
    reads: frozenset[str] = frozenset()
    takes_indices: bool = False


@jax.tree_util.register_static
class Cell(NamedTuple):
    """A recurrent cell. In a pytree it has no leaves; it can be pickled, and is equal after it.

    - `name`: what messages and tables call it.
    - `init(key, input_size, hidden_size, dtype=float32) -> params`: random parameters, a dict.
    - `initial_state(params, batch_shape) -> state`: zeros.
    - `check(params, x)`: raises ValueError or TypeError unless x, [..., I], fits these parameters.
    - `rule`: its mathematics.
    - `reference`: where its equations come from.
    """

    name: str
    init: Callable[..., Params]
    initial_state: Callable[[Params, tuple[int, ...]], State]
    check: Callable[[Params, jax.Array], None]
    rule: Rule
    reference: str = ""

    def __reduce__(self):
        return reduced(self)

    def __repr__(self):  # its functions' addresses say nothing
        return f"<jbptt.Cell {self.name}>"
