"""The engine's public face: a cell, unrolled over a sequence, for one step, or without inputs.

T time, B batch (any number of batch axes, none included), I inputs, H units.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt._jax import types
from jbptt.autodiff import Vjp, check_vjp
from jbptt.backends.checkpointed import checkpointed
from jbptt.backends.choosing import choose
from jbptt.backends.protocol import Backend, differentiable
from jbptt.backends.scan import SCAN
from jbptt.cells.rule import Cell, Consts, Params, State
from jbptt.feedforward.rows import is_index
from jbptt.recurrence.inputs import Inputs, Outputs, Spec, steps_of
from jbptt.recurrence.masks import Masks, where, zeros
from jbptt.recurrence.options import checked_resets, cuts, valid_steps
from jbptt.recurrence.precision import floating_arrays, in_dtype
from jbptt.recurrence.regularisation import dropout_mask, with_noise, zoneout_masks, zoneout_rates

BackendName = Literal["scan", "cpu", "xla", "native"]


def unroll(
    cell: Cell,
    params: Params | Consts,
    xs: jax.Array,
    state: State | None = None,
    *,
    lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_state: State | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint: int | Literal["sqrt"] | None = None,
    recurrent_dropout: float = 0.0,
    zoneout: float | State = 0.0,
    noise: float = 0.0,
    key: jax.Array | None = None,
    compute_dtype: Any = None,
    vjp: Vjp = "manual",
    backend: BackendName | Backend | None = None,
) -> tuple[State, jax.Array]:
    """Runs a cell over a sequence.

    - `cell`: e.g. `jbptt.lstm`.
    - `params`: as `cell.init` makes them, in a dict or any mapping that JAX knows; for a decoder with attention, what
      `with_memory` makes of them.
    - `xs`: [T, B, I], time first, any number of batch axes ([T, I] has none), of the params' dtype; T may be 0. Or
      integers [T, B], or [T], in the place of one-hot rows: x U is then a row of U, and ∂C/∂U a sum for each row.
    - `state`: what the first step starts from, each field [B, H]; None means `cell.initial_state`, zeros.
    - `lengths`: [B] integers in 0..T; past a sequence's end h is put out as 0, the state stays that of its last step
      (of length 0: `state`), and nothing there, NaN included, touches a value or a gradient.
    - `mask`: [T, B] booleans, the steps that there are, where it is not the ends alone that are padded: left padding,
      gaps. At the others h is put out as 0, the state stays, and nothing there, NaN included, touches a value or a
      gradient.
    - `resets`: [T, B] booleans; True at t means that the state entering step t is `reset_state`, so that no gradient
      goes back from t to t − 1: it goes to `reset_state`. Where there is no step there is no reset.
    - `reset_state`: None means `state`. Where that is carried on from an earlier call, give what episodes start from.
    - `reverse`: from the last step to the first, each sequence from its own end; hs stay beside their xs.
    - `truncate`: truncated backpropagation through time: no gradient goes from step n·k to the step before it, n ≥ 1
      (counted from the first step that a sequence takes).
    - `checkpoint`: keep only the state of every k-th step for the way back, and run each k steps again there; "sqrt" is
      k = √T, which needs about the least memory.
    - `recurrent_dropout`: the part of the units that the recurrent product does not see, the same at every step of a
      sequence, the others being divided by 1 − recurrent_dropout (Gal and Ghahramani 2016).
    - `zoneout`: the part of the state that stays what it was, drawn anew at every step (Krueger 2017); or a state of
      such numbers, e.g. `LSTMState(h=0.05, c=0.5)`.
    - `noise`: the standard deviation of Gaussian noise that is added at every step to z, the cell's product of its
      input (Song 2016), in a cell of layers that of the lowest: a number, which may be traced.
    - `key`: what the three are drawn with, for training. Without a key, for evaluation, there is no dropout and no
      noise, and zoneout takes its mean.
    - `compute_dtype`: mixed precision, e.g. bfloat16: xs and states are cast to it, steps computed and put out in it,
      while the parameters stay what they are, with gradients that are summed and given in at least float32 and their
      own dtype. None means the params' dtype, and no cast.
    - `vjp`: "manual", hand-derived backpropagation through time; "auto", `jax.grad`'s of the same forward.
    - `backend`: "scan", two scans; "cpu", the whole recurrence, forward and back, in one call of a C++ kernel each, for
      LSTM, GRU and RNN in float32 and bfloat16 (`jbptt.backends()` tells whether it is there). None takes the second
      where it can be had and was measured to be faster: from two steps and T·B = 16 on (128 with weights of four
      second caches). Where a program with kernels is compiled for another device, for several, or for export, they are
      the scan again. ("xla" and "native" are other names of the two; a `jbptt.Backend` of one's own is taken as it is.)

    Returns (state after the last step, every h [T, B, H]), of the params' dtype, or `compute_dtype`. Raises ValueError
    for an unknown `vjp`, for a backend that cannot run this (with the reason of each), for lengths out of range
    (clipped where they are traced), for rates not at least 0 and below 1, for recurrent dropout of a cell that has
    none, for integers not in 0..I-1 (zero rows where they are traced), and for shapes or a state's structure that do
    not fit, TypeError for float16, booleans, and mixed dtypes without a `compute_dtype`.
    """
    last, hs, _ = _unrolled(
        cell,
        params,
        xs,
        state,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reset_state=reset_state,
        reverse=reverse,
        truncate=truncate,
        checkpoint=checkpoint,
        recurrent_dropout=recurrent_dropout,
        zoneout=zoneout,
        noise=noise,
        key=key,
        compute_dtype=compute_dtype,
        vjp=vjp,
        backend=backend,
        rest=False,
    )
    return last, hs


OF_UNROLL = inspect.signature(unroll)


def unroll_states(
    cell: Cell, params: Params | Consts, xs: jax.Array, state: State | None = None, **options: Any
) -> tuple[State, State]:
    """Runs a cell over a sequence, and puts out the whole state after every step, not its h alone: to look into it, or
    for a cost of it.

    - `cell`, `params`, `xs`, `state`: as `unroll` takes them.
    - `options`: `unroll`'s.

    Returns (state after the last step, every state, each field [T, B, H]), of which h is what `unroll` gives; all of it
    is 0 where there is no step. Raises as `unroll`; the kernels cannot run it.
    """
    given = OF_UNROLL.bind(cell, params, xs, state, **options)
    given.apply_defaults()
    last, hs, rest = _unrolled(**given.arguments, rest=True)
    return last, rest._replace(h=hs)


def step(
    cell: Cell, params: Params | Consts, state: State | None, x: jax.Array, *, vjp: Vjp = "manual"
) -> tuple[State, jax.Array]:
    """Runs a cell for one step: at inference, or in the body of a scan, where each input comes of the output before.

    - `cell`, `params`: as `unroll` takes them.
    - `state`: what the step starts from, each field [B, H]; None means `cell.initial_state`, zeros.
    - `x`: [B, I], any number of batch axes ([I] has none), of the params' dtype. Or integers [B], or one alone, in the
      place of one-hot rows.
    - `vjp`: "manual", hand-derived; "auto", `jax.grad`'s.

    Returns (state after the step, its h [B, H]). Raises as `unroll`, to which x is the xs [1, B, I] of a single step,
    and ValueError for a number that is no integer.
    """
    x = checks.array("x", x)
    if x.ndim == 0 and not is_index(x):
        raise ValueError(f"x must have shape [B, I] (or [I] without a batch), or be integers, got one {x.dtype}")
    state, hs = unroll(cell, params, x[None], state, vjp=vjp)
    return state, hs[0]


class Prepared(NamedTuple):
    """A recurrence with its arguments checked.

    - `spec`, `inputs`: for a backend.
    - `valid`: [T, B], the steps that there are; None for all.
    """

    spec: Spec
    inputs: Inputs
    valid: jax.Array | None

    def put_out(self, outputs: Outputs) -> Outputs:
        """What users get of what a backend puts out: 0 where there is no step."""
        if self.valid is None:
            return outputs
        return Outputs(outputs.state, *_zero_elsewhere(self.valid, (outputs.hs, outputs.rest)))


def _unrolled(cell, params, xs, state, *, vjp, backend, checkpoint, rest, **options):
    """What both put out: `Outputs`, with the rest of every state if that is wanted."""
    check_vjp(vjp)
    prepared = prepare(cell, params, xs, state, **options)
    spec = prepared.spec._replace(rest=rest)
    k = _segment_length(checkpoint, prepared.inputs.steps[0])
    return prepared.put_out(_run(spec, prepared.inputs, vjp, backend, k))


def prepare(
    cell: Cell,
    params: Params | Consts,
    xs: jax.Array,
    state: State | None = None,
    *,
    lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_state: State | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    recurrent_dropout: float = 0.0,
    zoneout: float | State = 0.0,
    noise: float = 0.0,
    key: jax.Array | None = None,
    compute_dtype: Any = None,
) -> Prepared:
    """What `unroll` runs with these arguments, for whoever runs it otherwise. Raises what `unroll` raises."""
    check_cell(cell)
    xs = _inputs(xs)
    if compute_dtype is not None:
        checks.floating_dtype("compute_dtype", compute_dtype)
        params, state, reset_state = floating_arrays(params=params, state=state, reset_state=reset_state)
        xs, state, reset_state = in_dtype((xs, state, reset_state), compute_dtype)
    steps = T, *batch = steps_of(xs)
    consts, dtype = _consts(cell, params, xs, compute_dtype)
    state = like_batch(start_state(cell, in_dtype(consts.params, dtype), tuple(batch), state), xs)
    if resets is None and reset_state is not None:
        raise ValueError("reset_state is what resets go back to: give resets [T, B] too")
    if reset_state is None:
        reset_state = None if resets is None else state
    else:
        reset_state = like_batch(checks.like("reset_state", reset_state, state, "it must be like the state"), xs)
    valid = _like_steps(valid_steps(lengths, mask, steps), xs)
    if is_index(xs):
        xs = _rows_that_there_are(cell, consts.params, xs, valid, dtype)
    elif valid is not None:
        xs = _zero_elsewhere(valid, xs)
    reverse = checks.flag("reverse", reverse)
    resets = None if resets is None else _like_steps(checked_resets(resets, valid, steps), xs)
    h_mask, zoneout = _drawn(cell, state, T, recurrent_dropout, zoneout, key)
    masks = Masks(valid, resets, _like_steps(cuts(truncate, T, reverse, valid), xs), zoneout)
    inputs = with_noise(cell.rule, Inputs(consts._replace(h_mask=h_mask), state, xs, masks, reset_state), noise, key)
    return Prepared(Spec(cell.rule, reverse), inputs, valid)


def run_free(cell: Cell, params: Params, length: int, state: State, *, vjp: Vjp = "manual") -> tuple[State, jax.Array]:
    """Runs a cell for `length` steps that have no input: nothing is projected, stored or differentiated for it.

    Returns (state after the last step, every h [T, B, H]).
    """
    inputs = Inputs(Consts(dict(params)), state)
    last, hs, _ = differentiable(SCAN)(Spec(cell.rule, length=length), inputs, vjp=vjp)
    return last, hs


def _run(spec, inputs, vjp, backend, k):
    """By the backend that is asked for, or the best; in segments of k steps, the steps that are left over, the last of
    them, as they are."""
    T = inputs.xs.shape[0]
    chosen: Backend = choose(spec, inputs if k is None else _steps(inputs, 0, k), backend)
    if vjp == "auto":
        if backend is not None and chosen is not SCAN:
            raise ValueError(f"backend={chosen.name!r} is for vjp='manual': with 'auto' JAX differentiates the scan")
        chosen = SCAN
    if k is None:
        return differentiable(chosen)(spec, inputs, vjp=vjp)
    segments, whole, state, put_out = differentiable(checkpointed(chosen, k)), T - T % k, inputs.state, {}
    parts = {(0, whole): segments} | ({(whole, T): differentiable(chosen)} if whole < T else {})
    for first, last in sorted(parts, reverse=spec.reverse):
        part = _steps(inputs, first, last)._replace(state=state)
        state, *put_out[first, last] = parts[first, last](spec, part, vjp=vjp)
    return Outputs(state, *jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *[put_out[part] for part in parts]))


def _steps(inputs, first, last):
    """Those of the times from `first` to `last` - 1."""
    xs, masks = jax.tree.map(lambda array: array[first:last], (inputs.xs, inputs.masks))
    return inputs._replace(xs=xs, masks=masks)


def _inputs(xs):
    """Raises TypeError or ValueError for what cannot be inputs."""
    xs = checks.array("xs", xs)
    if is_index(xs):
        if xs.ndim == 0:
            raise ValueError("xs must have shape [T, B] where they are integers (or [T] without a batch), got []")
        limits = jnp.iinfo(xs.dtype)
        wide = jnp.clip(xs, max(-1, limits.min), min(checks.LARGEST_INDEX, limits.max))  # what is nobody's stays so
        return wide.astype(jnp.int32)
    xs = checks.floating("xs", xs, "cast it")
    if xs.ndim < 2:
        raise ValueError(f"xs must have shape [T, B, I] (or [T, I] without a batch), got {list(xs.shape)}")
    return xs


def _rows_that_there_are(cell, params, indices, valid, dtype):
    """Integers as the rule takes them: as they are, or as one-hot rows. Raises ValueError for those out of range."""
    number = params["U"].shape[0]
    checks.within("xs", indices, number - 1, f"indices in 0..{number - 1}, of rows of params['U']", where=valid)
    return indices if cell.rule.takes_indices else jax.nn.one_hot(indices, number, dtype=dtype)


def _consts(cell, params, xs, compute_dtype):
    """(the constants, the dtype of the steps). Raises ValueError or TypeError unless `params` are the cell's, with a
    memory if it attends, and xs fit them."""
    consts = params if isinstance(params, Consts) else Consts(params)
    checked = consts.params if compute_dtype is None else in_dtype(consts.params, compute_dtype)
    rows = _rows_like(checked, xs) if is_index(xs) else xs
    cell.check(checked, rows)
    attends = "memory" in cell.rule.reads
    if attends and consts.memory is None:
        raise ValueError("params must have a memory to attend to: give them one with jbptt.with_memory(params, memory)")
    if not attends and consts.memory is not None:
        raise ValueError(f"params must have no memory for {cell.name}, which does not attend")
    if consts.memory is not None:
        shape = (*steps_of(xs)[1:], consts.memory.values.shape[-2])
        checks.shape("the memory's mask", consts.memory.mask, "[B, S]", shape)
    params = jax.tree.map(jnp.asarray, dict(consts.params))  # NumPy's, and other libraries' tensors, are taken
    return consts._replace(params=params, memory=like_batch(consts.memory, xs)), rows.dtype


def _rows_like(params, indices):
    """The type of the one-hot rows that integers stand for: as many features as "U" has rows. (Where there is none, the
    cell's check tells of the parameters.)"""
    U: Any = params.get("U") if isinstance(params, Mapping) else None
    if getattr(U, "ndim", 0) != 2:
        return jax.ShapeDtypeStruct((*indices.shape, 0), jnp.float32)
    return jax.ShapeDtypeStruct((*indices.shape, U.shape[0]), U.dtype)


def _zero_elsewhere(valid, tree):
    """Arrays [T, B, ...], 0 where there is no step."""
    return where(valid, tree, zeros(tree))


def _like_steps(mask, xs):
    """A mask [T, B], or [T], sharded as time and batch of xs, where types have shardings."""
    return None if mask is None else types.resharded(mask, xs, range(mask.ndim))


def _drawn(cell, state, T, recurrent_dropout, zoneout, key):
    """(the mask of h, None without dropout; what stays at each step)."""
    checks.rate("recurrent_dropout", recurrent_dropout)
    rates = zoneout_rates(zoneout, state)
    checks.optional_key("key", key)
    if recurrent_dropout and "h_mask" not in cell.rule.reads:
        raise ValueError(f"recurrent_dropout must be 0 for {cell.name}, which has none, got {recurrent_dropout}")
    key_dropout, key_zoneout = (None, None) if key is None else jax.random.split(key)
    h_mask = None
    if recurrent_dropout and key_dropout is not None:
        h_mask = dropout_mask(key_dropout, recurrent_dropout, state.h)
    return h_mask, zoneout_masks(key_zoneout, rates, state, T)


def start_state(cell: Cell, params: Params, batch_shape: tuple[int, ...], state: State | None) -> State:
    """The initial state where `state` is None; else `state`, checked. Raises ValueError or TypeError as `unroll`."""
    if state is None:
        return cell.initial_state(params, batch_shape)
    remedy = "make it with the cell's initial_state(params, batch_shape)"
    return checks.like("state", state, jax.eval_shape(lambda: cell.initial_state(params, batch_shape)), remedy)


def like_batch(state: Any, xs: jax.Array) -> Any:
    """The fields [B, ...] of a state, or a memory, with the batch sharded as that of xs, where types have shardings."""
    batch = range(1, len(steps_of(xs)))
    return jax.tree.map(lambda leaf: types.resharded(leaf, xs, [*batch, *[None] * (leaf.ndim - len(batch))]), state)


def check_cell(cell: Any, name: str = "cell") -> None:
    """Raises TypeError for anything but a cell, which the caller calls `name`."""
    if not isinstance(cell, Cell):
        raise TypeError(f"{name} must be a jbptt.Cell such as jbptt.lstm, got {type(cell).__name__}")


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
