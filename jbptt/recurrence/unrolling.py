"""The engine's public face: a cell, unrolled over a sequence or without inputs.

T time, B batch (any number of batch axes, none included), I inputs, H units.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks
from jbptt.cells.cell import H_MASK, Cell, Params, State
from jbptt.hand_derived import check_vjp
from jbptt.kernels.native import recur_native, why_not, worth_it
from jbptt.recurrence.bptt import recur
from jbptt.recurrence.checkpointing import recur_checkpointed
from jbptt.recurrence.forward import Direction, Sequence
from jbptt.recurrence.marks import Marks
from jbptt.recurrence.regularisation import check_key, dropout_mask, stays, zoneout_rates


def unroll(
    cell: Cell,
    params: Params,
    xs: jax.Array,
    state: State | None = None,
    *,
    lengths: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_state: State | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint: int | Literal["sqrt"] | None = None,
    recurrent_dropout: float = 0.0,
    zoneout: float | State = 0.0,
    key: jax.Array | None = None,
    vjp: str = "manual",
    backend: Literal["xla", "native"] | None = None,
) -> tuple[State, jax.Array]:
    """Runs a cell over a sequence.

    - `cell`: e.g. `jbptt.lstm`.
    - `params`: as `cell.init` makes them.
    - `xs`: [T, B, I], time first, any number of batch axes ([T, I] has none), of the params' dtype; T may be 0.
    - `state`: what the first step starts from, each field [B, H]; None means `cell.initial_state`, zeros.
    - `lengths`: [B] integers in 0..T; past a sequence's end h is put out as 0, the state stays that of its last step
      (of length 0: `state`), and nothing there, NaN included, touches a value or a gradient.
    - `resets`: [T, B] booleans; True at t means that the state entering step t is `reset_state`, so that no gradient
      goes back from t to t − 1: it goes to `reset_state`.
    - `reset_state`: None means `state`. Where that is carried on from an earlier call, give what episodes start from.
    - `reverse`: from the last step to the first, each sequence from its own end; hs stay beside their xs.
    - `truncate`: truncated backpropagation through time: no gradient goes from step n·k to the step before it, n ≥ 1
      (counted from the first step taken).
    - `checkpoint`: keep only the state of every k-th step for the way back, and run each k steps again there; "sqrt" is
      k = √T, which needs about the least memory.
    - `recurrent_dropout`: the part of the units that the recurrent product does not see, the same at every step of a
      sequence, the others being divided by 1 − recurrent_dropout (Gal and Ghahramani 2016).
    - `zoneout`: the part of the state that stays what it was, drawn anew at every step (Krueger 2017); or a state of
      such numbers, e.g. `LSTMState(h=0.05, c=0.5)`.
    - `key`: what the two are drawn with, for training. Without a key, for evaluation, there is no dropout, and zoneout
      takes its mean.
    - `vjp`: "manual", hand-derived backpropagation through time; "auto", `jax.grad`'s of the same forward.
    - `backend`: "native", the whole recurrence, forward and back, in one call of a C++ kernel each, for float32 LSTM,
      GRU and RNN on the CPU (`jbptt.backends()` tells whether it is there); "xla", a scan. None takes the first where
      it can be had and was measured to be faster: from T·B = 512 on, and for B = 1 with weights up to 1 MiB. A program
      that is exported to other machines needs the second.

    Returns (state after the last step, every h [T, B, H]), of the params' dtype. Raises ValueError for an unknown
    `vjp`, for backend="native" where that cannot be had, for lengths out of range (clipped where they are traced), for
    rates not at least 0 and below 1, for recurrent dropout of a cell that has none, and for shapes or a state's
    structure that do not fit, TypeError for integers or mixed dtypes.
    """
    check_cell(cell)
    check_vjp(vjp)
    xs = checks.floating("xs", xs, "cast it, or one-hot encode indices with jax.nn.one_hot")
    if xs.ndim < 2:
        raise ValueError(f"xs must have shape [T, B, I] (or [T, I] without a batch), got {list(xs.shape)}")
    cell.check(params, xs)
    T, *batch, _ = xs.shape
    state = start_state(cell, params, tuple(batch), state)
    if resets is None and reset_state is not None:
        raise ValueError("reset_state is what resets go back to: give resets [T, B] too")
    if reset_state is None:
        reset_state = None if resets is None else state
    else:
        checks.like("reset_state", reset_state, state, "it must be like the state")
    lengths = None if lengths is None else checked_lengths(lengths, T, tuple(batch))
    valid = None if lengths is None else steps_within(lengths, T)
    if valid is not None:
        xs = jnp.where(jnp.broadcast_to(valid[..., None], xs.shape), xs, jnp.zeros_like(xs))
    params, stay = _drawn(cell, params, state, T, recurrent_dropout, zoneout, key)
    reverse = checks.flag("reverse", reverse)
    ends = lengths if reverse else None  # each sequence's first step taken is its own last
    marks = Marks(valid, checked_resets(resets, valid, xs.shape[:-1]), _cuts(truncate, T, reverse, ends), stay)
    args = params, state, reset_state, Sequence(xs, marks)
    direction, k = Direction(reverse=reverse), _segment_length(checkpoint, T)
    if _takes_native(backend, cell, params, vjp, k, args[-1]):
        return recur_native(cell, direction, *args)
    if k is None:
        return recur(cell, direction, *args, vjp=vjp)
    return recur_checkpointed(cell, direction, k, *args, vjp=vjp)


def run_free(cell: Cell, params: Params, length: int, state: State, *, vjp: str = "manual") -> tuple[State, jax.Array]:
    """Runs a cell for `length` steps that have no input: nothing is projected, stored or differentiated for it.

    Returns (state after the last step, every h [T, B, H]).
    """
    return recur(cell, Direction(length), params, state, None, Sequence(None), vjp=vjp)


def _takes_native(backend, cell, params, vjp, k, sequence):
    """Whether a kernel is to run it. Raises ValueError where it was asked for and cannot."""
    if backend not in (None, "xla", "native"):
        raise ValueError(f"backend must be 'xla', 'native' or None, got {backend!r}")
    if backend == "xla":
        return False
    reason = "it is for vjp='manual'" if vjp != "manual" else "it has no checkpoints" if k else None
    reason = reason or why_not(cell, params, sequence)
    if reason and backend == "native":
        raise ValueError(f"backend='native' cannot be had: {reason}")
    return reason is None and (backend == "native" or worth_it(params, sequence))


def _drawn(cell, params, state, T, recurrent_dropout, zoneout, key):
    """(params, with a mask of h where there is dropout; what stays at each step)."""
    checks.rate("recurrent_dropout", recurrent_dropout)
    rates = zoneout_rates(zoneout, state)
    check_key(key)
    if recurrent_dropout and not cell.masks_h:
        raise ValueError(f"recurrent_dropout must be 0 for {cell.name}, which has none, got {recurrent_dropout}")
    key_dropout, key_zoneout = (None, None) if key is None else jax.random.split(key)
    if recurrent_dropout and key is not None:
        params = params | {H_MASK: dropout_mask(key_dropout, recurrent_dropout, state.h.shape, state.h.dtype)}
    return params, stays(key_zoneout, rates, state, T)


def start_state(cell: Cell, params: Params, batch_shape: tuple[int, ...], state: State | None) -> State:
    """The initial state where `state` is None; else `state`, checked. Raises ValueError or TypeError as `unroll`."""
    if state is None:
        return cell.initial_state(params, batch_shape)
    remedy = "make it with the cell's initial_state(params, batch_shape)"
    checks.like("state", state, jax.eval_shape(lambda: cell.initial_state(params, batch_shape)), remedy)
    return state


def check_cell(cell: Cell) -> None:
    """Raises TypeError for anything but a cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a jbptt.Cell such as jbptt.lstm, got {type(cell).__name__}")


def checked_lengths(lengths: Any, T: int, batch: tuple[int, ...]) -> jax.Array:
    """`lengths` [B], int32. Raises TypeError or ValueError unless they are integers in 0..T."""
    lengths = checks.array("lengths", lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be integers, got {lengths.dtype}")
    checks.shape("lengths", lengths, "[B]", batch)
    checks.within("lengths", lengths, T, f"in 0..T = 0..{T}")
    return lengths.astype(jnp.int32)


def steps_within(lengths: jax.Array, T: int) -> jax.Array:
    """[T, B]: whether each sequence has a step t."""
    return _steps_left(lengths, T) > 0


def _steps_left(lengths, T):
    """length − t, [T, B]."""
    shape = (T, *lengths.shape)
    times = jnp.arange(T, dtype=jnp.int32).reshape(T, *[1] * lengths.ndim)
    return jnp.broadcast_to(lengths, shape) - jnp.broadcast_to(times, shape)


def checked_resets(resets: Any, valid: jax.Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    """`resets` [T, B] of that shape, False past the end of a sequence; None as it is."""
    if resets is None:
        return None
    resets = checks.array("resets", resets)
    if resets.dtype != bool:
        raise TypeError(f"resets must be booleans, got {resets.dtype}: compare, e.g. resets != 0")
    checks.shape("resets", resets, "[T, B]", shape)
    return resets if valid is None else resets & valid


def _cuts(truncate, T, reverse, ends):
    """[T]; or [T, B] where each sequence begins at an end of its own."""
    if truncate is None:
        return None
    checks.size("truncate", truncate)
    if truncate >= T:
        return None
    if ends is not None:
        taken = _steps_left(ends, T) - 1
    else:
        taken = jnp.asarray(np.arange(T)[::-1] if reverse else np.arange(T))
    return (taken > 0) & (taken % truncate == 0)


def _segment_length(checkpoint, T):
    """k; None where there is nothing to segment."""
    if checkpoint is None:
        return None
    if isinstance(checkpoint, str):
        if checkpoint != "sqrt":
            raise ValueError(f'checkpoint must be an int or "sqrt", got {checkpoint!r}')
        checkpoint = max(1, math.isqrt(T))
    checks.size("checkpoint", checkpoint)
    return int(checkpoint) if checkpoint < T else None
