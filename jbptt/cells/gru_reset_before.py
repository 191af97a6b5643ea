"""Gated units that reset h before the candidate's product: the GRU as first drawn, and the minimal gated unit.

    gates = σ(zg + h⁻ Wg)      q = r ⊙ h⁻      n = tanh(zn + q Wn)      h = (1 − u) ⊙ n + u ⊙ h⁻

    GRU (Cho 2014)    gates (r, u)
    MGU (Zhou 2016)   one gate f: r = f, u = 1 − f

Backward, from dh:

    δn = dh ⊙ (1 − u) ⊙ (1 − n²)      dq = Wnᵀ δn      dr = dq ⊙ h⁻      du = dh ⊙ (h⁻ − n)
    GRU   δr = dr ⊙ r (1 − r)         δu = du ⊙ u (1 − u)
    MGU   δf = (dr − du) ⊙ f (1 − f)
    dh⁻ = dh ⊙ u + dq ⊙ r + Wgᵀ δg
    ∂C/∂Wg = Σ_t δgᵗ (hᵗ⁻¹)ᵀ          ∂C/∂Wn = Σ_t δnᵗ (qᵗ)ᵀ

Two products, one after the other: that is why it has a step of its own, and why cuDNN resets after the product.
(The MGU's paper and Colah write the gate the other way round, h = (1 − u) ⊙ h⁻ + u ⊙ n: u there is 1 − u here.)
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_init
from jbptt.cells.gru import GRUState
from jbptt.cells.making import maker
from jbptt.cells.pieces import (
    bias_vjp,
    biased,
    blocks,
    check_params,
    checked_start,
    join,
    masked,
    multiples_of,
    project,
    project_vjp,
    with_params,
)
from jbptt.cells.products import transposed
from jbptt.cells.rule import Cell, Consts, Rule
from jbptt.feedforward.activations import sigmoid, tanh
from jbptt.feedforward.layer import weight_gradient


class ResetSaved(NamedTuple):
    """The reset, the update and the candidate after their activations: [B, H] each."""

    r: jax.Array
    u: jax.Array
    n: jax.Array


class Gating(NamedTuple):
    """How the gates' blocks become r and u: `split(gates) -> (r, u)`, `split_vjp(r, u, dr, du) -> δg`."""

    number: int
    split: Callable
    split_vjp: Callable


GRU_GATING = Gating(
    2,
    split=lambda gates: blocks(gates, 2),
    split_vjp=lambda r, u, dr, du: join(dr * sigmoid.prime(r), du * sigmoid.prime(u)),
)
MGU_GATING = Gating(
    1,
    split=lambda f: (f, 1 - f),
    split_vjp=lambda f, _, dr, du: (dr - du) * sigmoid.prime(f),
)


@maker
def gru_reset_before_cell(*, bias: bool = True) -> Cell:
    """The gated recurrent unit, reset before the product.

    - `bias`: whether `init` makes a "b".

    Parameters, gate blocks r, u, n: "U" [I, 3·H], "W" [H, 3·H], "b" [3·H]. State: h.
    """
    return _reset_cell("gru_reset_before", GRU_GATING, checks.flag("bias", bias), "Cho 2014, Colah 2015")


@maker
def mgu_cell(*, bias: bool = True) -> Cell:
    """The minimal gated unit: one gate both forgets and resets.

    - `bias`: whether `init` makes a "b".

    Parameters, gate blocks f, n: "U" [I, 2·H], "W" [H, 2·H], "b" [2·H]. State: h.
    """
    return _reset_cell("mgu", MGU_GATING, checks.flag("bias", bias), "Zhou 2016")


@cache
def _reset_cell(name, gating, bias, reference):
    G = gating.number + 1

    def initial_state(params, batch_shape):
        W, batch = checked_start(name, params, batch_shape, "W")
        return GRUState(jnp.zeros((*batch, W.shape[0]), W.dtype))

    def check(params, x):
        def shapes(hidden_size):
            return multiples_of(hidden_size, {"W": (1, G)})

        check_params(name, params, x, gates=G, needed={"U", "W"}, optional={"b"}, shapes=shapes)

    return Cell(name, gated_init(G, bias=bias), initial_state, check, _reset_rule(gating), reference)


@cache
def _reset_rule(gating):
    G = gating.number + 1

    def cut(array):
        """[..., G·H]: the gates' part, and the candidate's."""
        H = array.shape[-1] // G
        return array[..., :-H], array[..., -H:]

    def step(consts, state, z):
        (h_prev,), W = state, consts.params["W"]
        (Wg, Wn), h_seen = cut(W), masked(consts, h_prev)
        zg, zn = cut(biased(consts.params, z, (*h_prev.shape[:-1], W.shape[1])))
        r, u = gating.split(sigmoid(zg + jnp.dot(h_seen, Wg)))
        n = tanh(zn + jnp.dot(r * h_seen, Wn))
        return GRUState((1 - u) * n + u * h_prev), ResetSaved(r, u, n)

    def prepare_backward(consts):
        Wg, Wn = cut(consts.params["W"])
        return with_params(consts, WgT=transposed(Wg), WnT=transposed(Wn))

    def step_vjp(weights, residuals, dstate):
        (r, u, n), h_prev, (dh,) = residuals.saved, residuals.h_prev, dstate
        delta_n = dh * (1 - u) * tanh.prime(n)
        dq = jnp.dot(delta_n, weights.params["WnT"])
        delta_g = gating.split_vjp(r, u, dq * masked(weights, h_prev), dh * (h_prev - n))
        dh_seen = dq * r + jnp.dot(delta_g, weights.params["WgT"])
        return GRUState(dh * u + masked(weights, dh_seen)), join(delta_g, delta_n)

    def weight_vjp(consts, residuals, deltas):
        delta_g, delta_n = cut(deltas)
        h_seen = masked(consts, residuals.h_prev)
        dWg, dWn = weight_gradient(h_seen, delta_g), weight_gradient(residuals.saved.r * h_seen, delta_n)
        return Consts({"W": join(dWg, dWn)} | bias_vjp(consts.params, deltas))

    return Rule(
        project, project_vjp, step, prepare_backward, step_vjp, weight_vjp, frozenset({"h_mask"}), takes_indices=True
    )


gru_reset_before = gru_reset_before_cell()
mgu = mgu_cell()
