"""The engine's public face: a cell, unrolled over a sequence or without inputs.

T time, B batch (any number of batch axes, none included), I inputs, H units.
"""

import jax

from jbptt import checks
from jbptt.cells.cell import Cell, Params, State
from jbptt.hand_derived import check_vjp
from jbptt.recurrence.bptt import recur


def unroll(
    cell: Cell, params: Params, xs: jax.Array, state: State | None = None, *, vjp: str = "manual"
) -> tuple[State, jax.Array]:
    """Runs a cell over a sequence.

    - `cell`: e.g. `jbptt.lstm`.
    - `params`: as `cell.init` makes them.
    - `xs`: [T, B, I], time first, any number of batch axes ([T, I] has none), of the params' dtype; T may be 0.
    - `state`: what the first step starts from, each field [B, H]; None means `cell.initial_state`, zeros.
    - `vjp`: "manual", hand-derived backpropagation through time; "auto", `jax.grad`'s of the same forward.

    Returns (state after the last step, every h [T, B, H]), of the params' dtype. Raises ValueError for an
    unknown `vjp` and for shapes or a state's structure that do not fit, TypeError for integers or mixed dtypes.
    """
    check_cell(cell)
    check_vjp(vjp)
    xs = checks.floating("xs", xs, "cast it, or one-hot encode indices with jax.nn.one_hot")
    if xs.ndim < 2:
        raise ValueError(f"xs must have shape [T, B, I] (or [T, I] without a batch), got {list(xs.shape)}")
    cell.check(params, xs)
    return recur(cell, None, params, start_state(cell, params, xs.shape[1:-1], state), xs, vjp=vjp)


def run_free(cell: Cell, params: Params, length: int, state: State, *, vjp: str = "manual") -> tuple[State, jax.Array]:
    """Runs a cell for `length` steps that have no input: nothing is projected, stored or differentiated for it.

    Returns (state after the last step, every h [T, B, H]).
    """
    return recur(cell, length, params, state, None, vjp=vjp)


def start_state(cell: Cell, params: Params, batch_shape: tuple[int, ...], state: State | None) -> State:
    """The initial state where `state` is None; else `state`, checked. Raises ValueError or TypeError as `unroll`."""
    if state is None:
        return cell.initial_state(params, batch_shape)
    checks.like("state", state, jax.eval_shape(lambda: cell.initial_state(params, batch_shape)))
    return state


def check_cell(cell: Cell) -> None:
    """Raises TypeError for anything but a cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a jbptt.Cell such as jbptt.lstm, got {type(cell).__name__}")
