"""A decoder that attends before the step, so that what is found enters the recurrence (Bahdanau 2015).

    q = h⁻ Wq      (c, α) = attend(q), additive      h = the inner cell's, from z = x U + c Uc

    back, from the inner cell's δ:  dc = Ucᵀ δ      (dq, de) = attend's      dh⁻ = the inner cell's + Wqᵀ dq

(Its deep output layer, of h, c and x, is left to who reads h, which has seen c.)

B batch (any number of batch axes, none included), H units, G gates, M features of the memory, A of keys and queries.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.attending import (
    Attended,
    AttendedDelta,
    at_z,
    attention_weight_vjp,
    check_attending,
    check_made_of,
    glorot,
    inner_init,
    plus,
)
from jbptt.cells.attention import ADDITIVE, attend, attend_vjp
from jbptt.cells.cell import Cell, Params
from jbptt.cells.products import transposed
from jbptt.feedforward.layer import weight_gradient


class BahdanauSaved(NamedTuple):
    """What the inner cell saved, and the attention."""

    inner: Any
    attended: Attended


def bahdanau_cell(inner: Cell, *, memory_size: int | None = None, attention_size: int | None = None) -> Cell:
    """A cell that attends before every step.

    - `inner`: any cell.
    - `memory_size`, `attention_size`: M and A that `init` makes; H if not given.

    Parameters: the inner cell's, "Uc" [M, G·H], "Wq" [H, A], "v" [A], and "Wk" [M, A], which `with_memory` turns into
    "keys". State: the inner cell's.
    """
    check_made_of(inner, memory_size, attention_size)
    return _bahdanau_cell(inner, memory_size, attention_size)


@cache
def _bahdanau_cell(inner, memory_size, attention_size):
    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        keys = jax.random.split(key, 5)
        params, H, GH = inner_init(inner, keys[0], input_size, hidden_size, dtype)
        M, A = memory_size or H, attention_size or H
        return params | glorot(keys[1:], {"Uc": (M, GH), "Wq": (H, A), "Wk": (M, A), "v": (A,)}, dtype)

    def step(params, state, z):
        q = jnp.dot(state.h, params["Wq"])
        c, alpha = attend(ADDITIVE, params, q)
        state, saved = inner.step(params, state, plus(z, jnp.dot(c, params["Uc"])))
        return state, BahdanauSaved(saved, Attended(q, alpha, c))

    def way_back(params):
        return params | inner.way_back(params) | {name + "T": transposed(params[name]) for name in ("Uc", "Wq")}

    def step_vjp(way_back, kept, dstate):
        saved, (q, alpha, _) = kept.saved
        dstate, delta = inner.step_vjp(way_back, kept._replace(saved=saved), dstate)
        dc = jnp.dot(at_z(delta), way_back["UcT"])
        dq, de = attend_vjp(ADDITIVE, way_back, q, alpha, dc)
        return dstate._replace(h=dstate.h + jnp.dot(dq, way_back["WqT"])), (delta, AttendedDelta(dq, de, dc))

    def weight_vjp(params, kept, deltas):
        (saved, attended), (delta, dattended) = kept.saved, deltas
        return {
            **inner.weight_vjp(params, kept._replace(saved=saved), delta),
            **attention_weight_vjp(ADDITIVE, params, attended, dattended, kept.h_prev),
            "Uc": weight_gradient(attended.c, at_z(delta)),
        }

    return inner._replace(
        name=f"bahdanau_cell({inner.name})",
        init=init,
        check=lambda params, x: check_attending(inner, params, x, {"Uc", "Wq", "v"}),
        project_vjp=lambda params, xs, deltas: inner.project_vjp(params, xs, deltas[0]),
        step=step,
        way_back=way_back,
        step_vjp=step_vjp,
        weight_vjp=weight_vjp,
        reference="Bahdanau 2015",
        attends=True,
        kernel=None,
    )
