"""Attention over a memory: scores, their softmax, the context; forward, and back by hand.

    e_s = score(q, k_s)      α = softmax_s(e), 0 where there is nothing      c = Σ_s α_s m_s

    dot product (Luong 2015, "dot" and "general")      e_s = q · k_s
    additive (Bahdanau 2015; Luong's "concat")         e_s = v · tanh(q + k_s)

Backward, from dc:

    dα_s = dc · m_s          de_s = α_s (dα_s − Σ_r α_r dα_r)               the softmax's Jacobian is diag(α) − α αᵀ
    dot product   dq = Σ_s de_s k_s
    additive      dq = v ⊙ Σ_s de_s (1 − u_s²),  u_s = tanh(q + k_s)

and over all times t together, after the way back:

    ∂C/∂m_s = Σ_t α_sᵗ dcᵗ
    dot product   ∂C/∂k_s = Σ_t de_sᵗ qᵗ
    additive      ∂C/∂k_s = v ⊙ Σ_t de_sᵗ (1 − (u_sᵗ)²)      ∂C/∂v = Σ_t Σ_s de_sᵗ u_sᵗ

T time, B batch (any number of batch axes, none included), S positions of the memory, M its features, A those of keys
and queries.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.pieces import scaled
from jbptt.cells.rule import Memory, Params
from jbptt.feedforward.activations import tanh
from jbptt.feedforward.layer import accumulator, bias_gradient


class Score(NamedTuple):
    """How a query meets the memory's keys [B, S, A].

    - `energies(params, keys, q)`: e [B, S] from q [B, A].
    - `query_vjp(params, keys, q, de)`: dq [B, A].
    - `weight_vjp(params, keys, qs, des) -> (dkeys, dparams)`: gradients of the keys and of the score's own weights,
      from every time's q [T, B, A] and de [T, B, S].
    """

    energies: Callable[[Params, jax.Array, jax.Array], jax.Array]
    query_vjp: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
    weight_vjp: Callable[[Params, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Params]]


DOT = Score(
    energies=lambda params, keys, q: _over("...a,...sa->...s", q, keys),
    query_vjp=lambda params, keys, q, de: _over("...s,...sa->...a", de, keys),
    weight_vjp=lambda params, keys, qs, des: (_over("t...s,t...a->...sa", des, qs), {}),
)


def _additive_energies(params, keys, q):
    return jnp.dot(_met(keys, q), params["v"])


def _additive_query_vjp(params, keys, q, de):
    return scaled(params["v"], _over("...s,...sa->...a", de, tanh.prime(_met(keys, q))))


def _additive_weight_vjp(params, keys, qs, des):
    """One position after the other, all times at once: u of everything together would be [T, B, S, A]."""

    def at_position(dv, key_and_de):
        key, de = key_and_de  # [B, A], [T, B]
        u = tanh(qs + jnp.broadcast_to(key, qs.shape))
        return dv + bias_gradient(de[..., None] * u), _over("t...,t...a->...a", de, tanh.prime(u))

    v, keys, des = params["v"], jnp.moveaxis(keys, -2, 0), jnp.moveaxis(des, -1, 0)
    dv, dkeys = jax.lax.scan(at_position, jnp.zeros(v.shape, accumulator(v)), (keys, des))
    return scaled(v, jnp.moveaxis(dkeys, 0, -2)), {"v": dv}


ADDITIVE = Score(_additive_energies, _additive_query_vjp, _additive_weight_vjp)


def _met(keys, q):  # u [B, S, A]
    return tanh(keys + q[..., None, :])


def attend(score: Score, params: Params, memory: Memory, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(c [B, M], α [B, S]): what the query q [B, A] finds in the memory's values [B, S, M], where its mask is 1."""
    e = jnp.where(memory.mask > 0, score.energies(params, memory.keys, q), -jnp.inf)
    largest = jnp.maximum(jnp.max(e, axis=-1, keepdims=True), jnp.finfo(e.dtype).min)  # of a memory of nothing
    weights = jnp.exp(e - jax.lax.stop_gradient(largest))
    alpha = weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), jnp.finfo(e.dtype).tiny)
    return _over("...s,...sm->...m", alpha, memory.values), alpha


def attend_vjp(
    score: Score, params: Params, memory: Memory, q: jax.Array, alpha: jax.Array, dc: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(dq [B, A], de [B, S]) from dc [B, M]."""
    dalpha = _over("...m,...sm->...s", dc, memory.values)
    de = alpha * (dalpha - jnp.sum(alpha * dalpha, axis=-1, keepdims=True))
    return score.query_vjp(params, memory.keys, q, de), de


def memory_gradient(alphas: jax.Array, dcs: jax.Array) -> jax.Array:
    """∂C/∂m_s = Σ_t α_sᵗ dcᵗ [B, S, M], from every time's α [T, B, S] and dc [T, B, M]."""
    return _over("t...s,t...m->...sm", alphas, dcs)


def _over(axes, a, b):
    """A sum of products, in float32 at least."""
    return jnp.einsum(axes, a, b, preferred_element_type=accumulator(a)).astype(a.dtype)
