"""Decoders with attention: cells that look into a memory at every step.

Bahdanau 2015, before the step, so that what is found enters the recurrence:

    q = h⁻ Wq      (c, α) = attend(q), additive      h = the inner cell's, from z = x U + c Uc

    back, from the inner cell's δ:  dc = Ucᵀ δ      (dq, de) = attend's      dh⁻ = the inner cell's + Wqᵀ dq

Luong 2015, after it, with input feeding: h̃, which is put out, is an input of the next step.

    s = the inner cell's h, from z = x U + h̃⁻ Uc      q = s Wq, or s      (c, α) = attend(q)      h̃ = tanh(c Wc + s Ws)

    back, from dh̃:  δ̃ = dh̃ ⊙ (1 − h̃²)      dc = Wcᵀ δ̃      (dq, de) = attend's      ds = ds⁺ + Wsᵀ δ̃ + Wqᵀ dq
    then the inner cell's δ from ds, and dh̃⁻ = Ucᵀ δ

Weight gradients are Σ_t δ_outᵗ (a_inᵗ)ᵀ for both; attention.py has attend's. They are cells like others, some of whose
parameters, the memory and its keys, another network made. (Bahdanau's deep output layer, of h, c and x, is left to who
reads h, which has seen c.)

T time, B batch (any number of batch axes, none included), I inputs, H units, G gates, S positions of the memory, M its
features, A those of keys and queries.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.attention import ADDITIVE, DOT, attend, attend_vjp, memory_gradient
from jbptt.cells.cell import Cell, Kept, Params, State, features_of_h
from jbptt.cells.products import drawn, transposed
from jbptt.feedforward.activations import tanh
from jbptt.feedforward.layer import weight_gradient

SCORES = {"dot": DOT, "general": DOT, "concat": ADDITIVE}
MEMORY = ("memory", "keys", "mask")


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


class BahdanauSaved(NamedTuple):
    """What the inner cell saved, and the attention."""

    inner: Any
    attended: Attended


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


def bahdanau_cell(inner: Cell, *, memory_size: int | None = None, attention_size: int | None = None) -> Cell:
    """A cell that attends before every step.

    - `inner`: any cell.
    - `memory_size`, `attention_size`: M and A that `init` makes; H if not given.

    Parameters: the inner cell's, "Uc" [M, G·H], "Wq" [H, A], "v" [A], and "Wk" [M, A], which `with_memory` turns into
    "keys". State: the inner cell's.
    """
    _check(inner, memory_size, attention_size)
    return _bahdanau_cell(inner, memory_size, attention_size)


@cache
def _bahdanau_cell(inner, memory_size, attention_size):
    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        keys = jax.random.split(key, 5)
        params, H, GH = _inner_init(inner, keys[0], input_size, hidden_size, dtype)
        M, A = memory_size or H, attention_size or H
        shapes = {"Uc": (M, GH), "Wq": (H, A), "Wk": (M, A), "v": (A, 1)}
        weights = {name: _glorot(k, shape, dtype) for (name, shape), k in zip(shapes.items(), keys[1:], strict=True)}
        return params | weights | {"v": weights["v"][:, 0]}

    def step(params, state, z):
        q = jnp.dot(state.h, params["Wq"])
        c, alpha = attend(ADDITIVE, params, q)
        state, saved = inner.step(params, state, _plus(z, jnp.dot(c, params["Uc"])))
        return state, BahdanauSaved(saved, Attended(q, alpha, c))

    def way_back(params):
        return params | inner.way_back(params) | {name + "T": transposed(params[name]) for name in ("Uc", "Wq")}

    def step_vjp(way_back, kept, dstate):
        saved, (q, alpha, _) = kept.saved
        dstate, delta = inner.step_vjp(way_back, kept._replace(saved=saved), dstate)
        dc = jnp.dot(_at_z(delta), way_back["UcT"])
        dq, de = attend_vjp(ADDITIVE, way_back, q, alpha, dc)
        return dstate._replace(h=dstate.h + jnp.dot(dq, way_back["WqT"])), (delta, AttendedDelta(dq, de, dc))

    def weight_vjp(params, kept, deltas):
        (saved, attended), (delta, dattended) = kept.saved, deltas
        return {
            **inner.weight_vjp(params, kept._replace(saved=saved), delta),
            **_attention_weight_vjp(ADDITIVE, params, attended, dattended, kept.h_prev),
            "Uc": weight_gradient(attended.c, _at_z(delta)),
        }

    return inner._replace(
        name=f"bahdanau_cell({inner.name})",
        init=init,
        check=lambda params, x: _check_params(inner, params, x, {"Uc", "Wq", "v"}),
        project_vjp=lambda params, xs, deltas: inner.project_vjp(params, xs, deltas[0]),
        step=step,
        way_back=way_back,
        step_vjp=step_vjp,
        weight_vjp=weight_vjp,
        reference="Bahdanau 2015",
        attends=True,
    )


def luong_cell(
    inner: Cell, *, score: str = "general", memory_size: int | None = None, attention_size: int | None = None
) -> Cell:
    """A cell that attends after every step, and feeds what it puts out to the next.

    - `inner`: any cell.
    - `score`: "dot" (M must be H), "general" or "concat".
    - `memory_size`, `attention_size`: M, and for "concat" A, that `init` makes; H if not given.

    Parameters: the inner cell's, "Uc" [H, G·H], "Wc" [M, H], "Ws" [H, H]; "Wq" [H, M] for "general"; "Wq" [H, A], "v"
    [A] and "Wk" [M, A], which `with_memory` turns into "keys", for "concat". State: h̃, and the inner cell's.
    """
    _check(inner, memory_size, attention_size)
    if score not in SCORES:
        raise ValueError(f"score must be one of {sorted(SCORES)}, got {score!r}")
    return _luong_cell(inner, score, memory_size, attention_size)


@cache
def _luong_cell(inner, score_name, memory_size, attention_size):
    score = SCORES[score_name]
    needed = {"dot": set(), "general": {"Wq"}, "concat": {"Wq", "v"}}[score_name] | {"Uc", "Wc", "Ws"}

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        key, *keys = jax.random.split(key, 7)
        params, H, GH = _inner_init(inner, key, input_size, hidden_size, dtype)
        M = memory_size or H
        if score_name == "dot" and M != H:
            raise ValueError(f"memory_size must be H = {H} for the score 'dot', got {M}: use 'general'")
        A = (attention_size or H) if score_name == "concat" else M
        shapes = {"Uc": (H, GH), "Wc": (M, H), "Ws": (H, H), "Wq": (H, A), "v": (A, 1), "Wk": (M, A)}
        weights = {name: _glorot(k, shape, dtype) for (name, shape), k in zip(shapes.items(), keys, strict=True)}
        weights["v"] = weights["v"][:, 0]
        wanted = needed | ({"Wk"} if score_name == "concat" else set())
        return params | {name: leaf for name, leaf in weights.items() if name in wanted}

    def initial_state(params, batch_shape):
        state = inner.initial_state(params, batch_shape)
        return LuongState(jnp.zeros_like(state.h), state)

    def query(params, s):
        return jnp.dot(s, params["Wq"]) if "Wq" in params else s

    def step(params, state, z):
        z = _plus(z, jnp.dot(state.h, params["Uc"]))
        after, saved = inner.step(params, state.inner, z)
        q = query(params, after.h)
        c, alpha = attend(score, params, q)
        h = tanh(jnp.dot(c, params["Wc"]) + jnp.dot(after.h, params["Ws"]))
        return LuongState(h, after), LuongSaved(saved, state.inner.h, after.h, Attended(q, alpha, c))

    def way_back(params):
        weights = {name + "T": transposed(params[name]) for name in ("Uc", "Wc", "Ws", "Wq") if name in params}
        return params | inner.way_back(params) | weights

    def step_vjp(way_back, kept, dstate):
        saved, s_prev, s, (q, alpha, _) = kept.saved
        delta_h = dstate.h * tanh.prime(kept.h)
        dc = jnp.dot(delta_h, way_back["WcT"])
        dq, de = attend_vjp(score, way_back, q, alpha, dc)
        ds = jnp.dot(delta_h, way_back["WsT"]) + (jnp.dot(dq, way_back["WqT"]) if "WqT" in way_back else dq)
        dinner = dstate.inner._replace(h=dstate.inner.h + ds)
        dinner, delta = inner.step_vjp(way_back, Kept(s_prev, s, saved), dinner)
        dh = jnp.dot(_at_z(delta), way_back["UcT"])
        return LuongState(dh, dinner), LuongDelta(delta, AttendedDelta(dq, de, dc), delta_h)

    def weight_vjp(params, kept, deltas):
        saved, s_prev, s, attended = kept.saved
        return {
            **inner.weight_vjp(params, Kept(s_prev, s, saved), deltas.inner),
            **_attention_weight_vjp(score, params, attended, deltas.attended, s),
            "Uc": weight_gradient(kept.h_prev, _at_z(deltas.inner)),
            "Wc": weight_gradient(attended.c, deltas.h),
            "Ws": weight_gradient(s, deltas.h),
        }

    return inner._replace(
        name=f"luong_cell({inner.name}, score={score_name!r})",
        init=init,
        initial_state=initial_state,
        check=lambda params, x: _check_params(inner, params, x, needed),
        project_vjp=lambda params, xs, deltas: inner.project_vjp(params, xs, deltas.inner),
        step=step,
        way_back=way_back,
        step_vjp=step_vjp,
        weight_vjp=weight_vjp,
        reference="Luong 2015",
        attends=True,
    )


def _attention_weight_vjp(score, params, attended, deltas, h):
    """Of the memory, its keys, the score's weights and the query's, from every time's; the mask has none."""
    gradients = {
        "memory": memory_gradient(attended.alpha, deltas.c),
        "mask": None,
        **score.weight_vjp(params, attended.q, deltas.e),
    }
    return gradients | ({"Wq": weight_gradient(h, deltas.q)} if "Wq" in params else {})


def _at_z(delta):
    """A cell that gives several δ gives that at z first."""
    return jax.tree.leaves(delta)[0]


def _plus(z, more):
    return more if z is None else z + more


def _glorot(key, shape, dtype):
    return drawn(jax.nn.initializers.glorot_uniform(), key, 1, shape, dtype)


def _inner_init(inner, key, input_size, hidden_size, dtype):
    """(its parameters, the features of its h, those of its z)"""
    params = inner.init(key, input_size, hidden_size, dtype)
    return params, features_of_h(inner, params), params["U"].shape[1]


def _check(inner, memory_size, attention_size):
    if not isinstance(inner, Cell):
        raise TypeError(f"inner must be a jbptt.Cell such as jbptt.lstm, got {type(inner).__name__}")
    for name, size in (("memory_size", memory_size), ("attention_size", attention_size)):
        if size is not None:
            checks.size(name, size)


def _check_params(inner, params, x, needed):
    """Raises ValueError or TypeError unless the inner cell's parameters, these and a memory are there, and fit."""
    if not isinstance(params, dict) or not set(MEMORY) <= params.keys():
        raise ValueError("params must have a memory to attend to: give them one with jbptt.with_memory(params, memory)")
    if missing := needed - params.keys():
        raise ValueError(f"params must have {sorted(missing)}: make it with the init of the cell")
    inner.check({name: leaf for name, leaf in params.items() if name not in needed and name not in MEMORY}, x)
    batch, (S, _) = x.shape[1:-1], params["memory"].shape[-2:]
    checks.shape("params['mask']", params["mask"], "[B, S]", (*batch, S))
