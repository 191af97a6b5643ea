"""A decoder that attends after the step, with input feeding: h̃, which is put out, is an input of the next (Luong 2015).

    s = the inner cell's h, from z = x U + h̃⁻ Uc      q = s Wq, or s      (c, α) = attend(q)      h̃ = tanh(c Wc + s Ws)

    back, from dh̃:  δ̃ = dh̃ ⊙ (1 − h̃²)      dc = Wcᵀ δ̃      (dq, de) = attend's      ds = ds⁺ + Wsᵀ δ̃ + Wqᵀ dq
    then the inner cell's δ from ds, and dh̃⁻ = Ucᵀ δ

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
from jbptt.cells.attention import ADDITIVE, DOT, Score, attend, attend_vjp
from jbptt.cells.making import maker
from jbptt.cells.pieces import with_params
from jbptt.cells.products import transposed
from jbptt.cells.rule import Cell, Consts, Params, Rule, State, StepResiduals
from jbptt.feedforward.activations import tanh
from jbptt.feedforward.layer import weight_gradient

SCORES = {"dot": DOT, "general": DOT, "concat": ADDITIVE}


class LuongState(NamedTuple):
    """h̃ [B, H], and the inner cell's state."""

    h: jax.Array
    inner: State


class LuongSaved(NamedTuple):
    """What the inner cell saved, its h before and after, and the attention."""

    inner: Any
    s_prev: jax.Array
    s: jax.Array
    attended: Attended


class LuongDelta(NamedTuple):
    """The inner cell's δ, that of the attention, and δ̃ [B, H]."""

    inner: Any
    attended: AttendedDelta
    h: jax.Array


@maker
def luong_cell(
    inner: Cell, *, score: str = "general", memory_size: int | None = None, attention_size: int | None = None
) -> Cell:
    """A cell that attends after every step, and feeds what it puts out to the next.

    - `inner`: any cell.
    - `score`: "dot" (M must be H), "general" or "concat".
    - `memory_size`, `attention_size`: M, and for "concat" A, that `init` makes; H if not given.

    Parameters: the inner cell's, "Uc" [H, G·H], "Wc" [M, H], "Ws" [H, H]; "Wq" [H, M] for "general"; "Wq" [H, A], "v"
    [A] and "Wk" [M, A], with which `with_memory` makes keys, for "concat". State: h̃, and the inner cell's.
    """
    check_made_of(inner, memory_size, attention_size)
    if score not in SCORES:
        raise ValueError(f"score must be one of {sorted(SCORES)}, got {score!r}")
    return _luong_cell(inner, score, memory_size, attention_size)


@cache
def _luong_cell(inner, score_name, memory_size, attention_size):
    needed = {"dot": set(), "general": {"Wq"}, "concat": {"Wq", "v"}}[score_name] | {"Uc", "Wc", "Ws"}

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        checks.key("key", key)
        key, *keys = jax.random.split(key, 7)
        params, H, GH = inner_init(inner, key, input_size, hidden_size, dtype)
        M = memory_size or H
        if score_name == "dot" and M != H:
            raise ValueError(f"memory_size must be H = {H} for the score 'dot', got {M}: use 'general'")
        A = (attention_size or H) if score_name == "concat" else M
        shapes = {"Uc": (H, GH), "Wc": (M, H), "Ws": (H, H), "Wq": (H, A), "v": (A,), "Wk": (M, A)}
        weights = glorot(keys, shapes, dtype)
        wanted = needed | ({"Wk"} if score_name == "concat" else set())
        return params | {name: leaf for name, leaf in weights.items() if name in wanted}

    def initial_state(params, batch_shape):
        state = inner.initial_state(params, batch_shape)
        return LuongState(jnp.zeros_like(state.h), state)

    return inner._replace(
        name=f"luong_cell({inner.name}, score={score_name!r})",
        init=init,
        initial_state=initial_state,
        check=lambda params, x: check_attending(inner, params, x, needed),
        rule=_luong_rule(inner.rule, SCORES[score_name]),
        reference="Luong 2015",
    )


@cache
def _luong_rule(inner: Rule, score: Score) -> Rule:
    def query(params, s):
        return jnp.dot(s, params["Wq"]) if "Wq" in params else s

    def step(consts, state, z):
        params = consts.params
        after, saved = inner.step(consts, state.inner, plus(z, jnp.dot(state.h, params["Uc"])))
        q = query(params, after.h)
        c, alpha = attend(score, params, consts.memory, q)
        h = tanh(jnp.dot(c, params["Wc"]) + jnp.dot(after.h, params["Ws"]))
        return LuongState(h, after), LuongSaved(saved, state.inner.h, after.h, Attended(q, alpha, c))

    def prepare_backward(consts):
        names = [name for name in ("Uc", "Wc", "Ws", "Wq") if name in consts.params]
        own = {name + "T": transposed(consts.params[name]) for name in names}
        return with_params(inner.prepare_backward(consts), **own)

    def step_vjp(weights, residuals, dstate):
        (saved, s_prev, s, (q, alpha, _)), params = residuals.saved, weights.params
        delta_h = dstate.h * tanh.prime(residuals.h)
        dc = jnp.dot(delta_h, params["WcT"])
        dq, de = attend_vjp(score, params, weights.memory, q, alpha, dc)
        ds = jnp.dot(delta_h, params["WsT"]) + (jnp.dot(dq, params["WqT"]) if "WqT" in params else dq)
        dinner = dstate.inner._replace(h=dstate.inner.h + ds)
        dinner, delta = inner.step_vjp(weights, StepResiduals(s_prev, s, saved), dinner)
        dh = jnp.dot(at_z(delta), params["UcT"])
        return LuongState(dh, dinner), LuongDelta(delta, AttendedDelta(dq, de, dc), delta_h)

    def weight_vjp(consts, residuals, deltas):
        saved, s_prev, s, attended = residuals.saved
        dinner = inner.weight_vjp(consts, StepResiduals(s_prev, s, saved), deltas.inner)
        dparams, dmemory = attention_weight_vjp(score, consts.params, consts.memory, attended, deltas.attended, s)
        dparams |= {
            "Uc": weight_gradient(residuals.h_prev, at_z(deltas.inner)),
            "Wc": weight_gradient(attended.c, deltas.h),
            "Ws": weight_gradient(s, deltas.h),
        }
        return Consts(dinner.params | dparams, dmemory)

    def project_vjp(consts, xs, deltas):
        return inner.project_vjp(consts, xs, deltas.inner)

    reads = inner.reads | {"memory"}
    return Rule(inner.project, project_vjp, step, prepare_backward, step_vjp, weight_vjp, reads, inner.takes_indices)
