"""What a decoder with attention attends to: an encoder's hs, beside the decoder's parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt._jax import types
from jbptt.autodiff import Vjp
from jbptt.cells.rule import Consts, Memory, Params
from jbptt.feedforward.layer import dense
from jbptt.recurrence.options import checked_lengths, steps_within


def with_memory(params: Params, memory: jax.Array, lengths: Any = None, *, vjp: Vjp = "manual") -> Consts:
    """The constants of a decoder with attention, as `unroll` takes them: the parameters of `init`, and a memory.

    - `params`: of `bahdanau_cell` or `luong_cell`.
    - `memory`: [S, B, M], time first, e.g. the hs of an encoder.
    - `lengths`: [B] integers in 0..S; nothing past them is attended to, NaN included.

    Keys are memory Wk where there is a "Wk", and the memory itself where there is none. Returns `Consts`: params
    without "Wk", and a `Memory` of values [B, S, M], keys [B, S, A] and mask [B, S]. Raises ValueError for shapes that
    do not fit and for lengths out of range, TypeError for integers or mixed dtypes.
    """
    checks.mapping("params", params, "make it with the init of a bahdanau_cell or a luong_cell")
    memory = checks.floating("memory", memory, "give it an encoder's hs")
    if memory.ndim < 2 or memory.shape[0] == 0:
        raise ValueError(f"memory must have shape [S, B, M] with S of at least 1, got {list(memory.shape)}")
    S, *batch, M = memory.shape
    weight = next((params[name] for name in ("Wk", "Wc") if name in params), None)
    if weight is None:
        raise ValueError("params must be those of a bahdanau_cell or a luong_cell")
    if weight.shape[0] != M:
        raise ValueError(f"memory must have the decoder's memory_size, M = {weight.shape[0]} features, got {M}")
    valid = jnp.ones((S, *batch), bool)
    if lengths is not None:
        valid = steps_within(checked_lengths(lengths, S, tuple(batch)), S)
    valid = types.resharded(valid, memory, range(memory.ndim - 1))
    if lengths is not None:
        memory = jnp.where(jnp.broadcast_to(valid[..., None], memory.shape), memory, jnp.zeros_like(memory))
    memory = jnp.moveaxis(memory, 0, -2)  # [B, S, M]: a step's products read a row of the batch as one piece
    keys = dense({"w": params["Wk"]}, memory, vjp=vjp) if "Wk" in params else memory
    others = {name: leaf for name, leaf in params.items() if name != "Wk"}
    return Consts(others, Memory(memory, keys, mask=jnp.moveaxis(valid, 0, -1).astype(memory.dtype)))
