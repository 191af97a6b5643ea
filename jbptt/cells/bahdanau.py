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

from jbptt import checks
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
from jbptt.cells.making import maker
from jbptt.cells.pieces import with_params
from jbptt.cells.products import transposed
from jbptt.cells.rule import Cell, Consts, Params, Rule
from jbptt.feedforward.layer import weight_gradient


class BahdanauSaved(NamedTuple):
    """What the inner cell saved, and the attention."""

    inner: Any
    attended: Attended


@maker
def bahdanau_cell(inner: Cell, *, memory_size: int | None = None, attention_size: int | None = None) -> Cell:
    """A cell that attends before every step.

    - `inner`: any cell.
    - `memory_size`, `attention_size`: M and A that `init` makes; H if not given.

    Parameters: the inner cell's, "Uc" [M, G·H], "Wq" [H, A], "v" [A], and "Wk" [M, A], with which `with_memory` makes
    keys. State: the inner cell's.
    """
    check_made_of(inner, memory_size, attention_size)
    return _bahdanau_cell(inner, memory_size, attention_size)


@cache
def _bahdanau_cell(inner, memory_size, attention_size):
    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        checks.key("key", key)
        keys = jax.random.split(key, 5)
        params, H, GH = inner_init(inner, keys[0], input_size, hidden_size, dtype)
        M, A = memory_size or H, attention_size or H
        return params | glorot(keys[1:], {"Uc": (M, GH), "Wq": (H, A), "Wk": (M, A), "v": (A,)}, dtype)

    return inner._replace(
        name=f"bahdanau_cell({inner.name})",
        init=init,
        check=lambda params, x: check_attending(inner, params, x, {"Uc", "Wq", "v"}),
        rule=_bahdanau_rule(inner.rule),
        reference="Bahdanau 2015",
    )


@cache
def _bahdanau_rule(inner: Rule) -> Rule:
    def step(consts, state, z):
        q = jnp.dot(state.h, consts.params["Wq"])
        c, alpha = attend(ADDITIVE, consts.params, consts.memory, q)
        state, saved = inner.step(consts, state, plus(z, jnp.dot(c, consts.params["Uc"])))
        return state, BahdanauSaved(saved, Attended(q, alpha, c))

    def prepare_backward(consts):
        own = {name + "T": transposed(consts.params[name]) for name in ("Uc", "Wq")}
        return with_params(inner.prepare_backward(consts), **own)

    def step_vjp(weights, residuals, dstate):
        saved, (q, alpha, _) = residuals.saved
        dstate, delta = inner.step_vjp(weights, residuals._replace(saved=saved), dstate)
        dc = jnp.dot(at_z(delta), weights.params["UcT"])
        dq, de = attend_vjp(ADDITIVE, weights.params, weights.memory, q, alpha, dc)
        dh = dstate.h + jnp.dot(dq, weights.params["WqT"])
        return dstate._replace(h=dh), (delta, AttendedDelta(dq, de, dc))

    def weight_vjp(consts, residuals, deltas):
        (saved, attended), (delta, dattended) = residuals.saved, deltas
        dinner = inner.weight_vjp(consts, residuals._replace(saved=saved), delta)
        dparams, dmemory = attention_weight_vjp(
            ADDITIVE, consts.params, consts.memory, attended, dattended, residuals.h_prev
        )
        dparams |= {"Uc": weight_gradient(attended.c, at_z(delta))}
        return Consts(dinner.params | dparams, dmemory)

    def project_vjp(consts, xs, deltas):
        return inner.project_vjp(consts, xs, deltas[0])

    reads = inner.reads | {"memory"}
    return Rule(inner.project, project_vjp, step, prepare_backward, step_vjp, weight_vjp, reads, inner.takes_indices)
