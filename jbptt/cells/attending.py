"""What decoders with attention share: cells that look into a memory at every step, made of a cell.

They are cells like others, whose constants have a memory that another network made beside their parameters. Weight
gradients are Σ_t δ_outᵗ (a_inᵗ)ᵀ; attention.py has those of the score.

B batch (any number of batch axes, none included), S positions of the memory, M its features, A those of keys and
queries.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from jbptt import checks
from jbptt.cells.attention import Score, memory_gradient
from jbptt.cells.pieces import features_of_h
from jbptt.cells.products import drawn
from jbptt.cells.rule import NO_COTANGENT, Cell, Memory, Params
from jbptt.feedforward.layer import weight_gradient


class Attended(NamedTuple):
    """What a step keeps of its attention: q [B, A], α [B, S], c [B, M]."""

    q: jax.Array
    alpha: jax.Array
    c: jax.Array


class AttendedDelta(NamedTuple):
    """∂C/∂q [B, A], ∂C/∂e [B, S], ∂C/∂c [B, M]."""

    q: jax.Array
    e: jax.Array
    c: jax.Array


def attention_weight_vjp(
    score: Score, params: Params, memory: Memory, attended: Attended, deltas: AttendedDelta, h: jax.Array
) -> tuple[Params, Memory]:
    """(dparams, dmemory): of the score's weights and the query's, and of the memory, from every time's."""
    dkeys, dparams = score.weight_vjp(params, memory.keys, attended.q, deltas.e)
    dmemory = Memory(memory_gradient(attended.alpha, deltas.c), dkeys, NO_COTANGENT)
    return dparams | ({"Wq": weight_gradient(h, deltas.q)} if "Wq" in params else {}), dmemory


def at_z(delta: Any) -> jax.Array:
    """δ at z: a cell that gives several δ gives this one first."""
    return jax.tree.leaves(delta)[0]


def plus(z: jax.Array | None, more: jax.Array) -> jax.Array:
    """z + more, where z is None without an input."""
    return more if z is None else z + more


def glorot(keys: Iterable[jax.Array], shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> Params:
    """Weights of these shapes by their names, Glorot-uniform; one of a single axis as the column of a matrix."""

    def weight(key, shape):
        matrix = shape if len(shape) == 2 else (*shape, 1)
        return drawn(jax.nn.initializers.glorot_uniform(), key, 1, matrix, dtype).reshape(shape)

    return {name: weight(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}


def inner_init(inner: Cell, key: jax.Array, input_size: int, hidden_size: int, dtype: Any) -> tuple[Params, int, int]:
    """(its parameters, the features of its h, those of its z)"""
    params = inner.init(key, input_size, hidden_size, dtype)
    return params, features_of_h(inner, params), params["U"].shape[1]


def check_made_of(inner: Cell, memory_size: int | None, attention_size: int | None) -> None:
    """Raises TypeError or ValueError unless a decoder can be made of these."""
    if not isinstance(inner, Cell):
        raise TypeError(f"inner must be a jbptt.Cell such as jbptt.lstm, got {type(inner).__name__}")
    for name, size in (("memory_size", memory_size), ("attention_size", attention_size)):
        if size is not None:
            checks.size(name, size)


def check_attending(inner: Cell, params: Params, x: jax.Array, needed: set[str]) -> None:
    """Raises ValueError or TypeError unless the inner cell's parameters and these are there, and fit."""
    checks.mapping("params", params, "make it with the init of the cell")
    if missing := needed - set(params):
        raise ValueError(f"params must have {sorted(missing)}: make it with the init of the cell")
    inner.check({name: leaf for name, leaf in params.items() if name not in needed and name != "Wk"}, x)
