"""The gated recurrent unit (Cho 2014), reset after the product, as cuDNN and PyTorch have it.

    (zr, zu, zn) = x U + b        (qr, qu, qn) = h⁻ W
    r = σ(zr + qr)   u = σ(zu + qu)   m = qn + bn   n = tanh(zn + r ⊙ m)
    h = (1 − u) ⊙ n + u ⊙ h⁻

Backward, from dh:

    δn = dh ⊙ (1 − u) ⊙ (1 − n²)      δu = dh ⊙ (h⁻ − n) ⊙ u (1 − u)      δr = δn ⊙ m ⊙ r (1 − r)
    δ  = (δr, δu, δn)                 at z = x U + b
    δ′ = (δr, δu, δn ⊙ r)             at h⁻ W
    dh⁻ = dh ⊙ u + Wᵀ δ′
    ∂C/∂W = Σ_t δ′ᵗ (hᵗ⁻¹)ᵀ    ∂C/∂bn = Σ_t δnᵗ ⊙ rᵗ    ∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ    ∂C/∂b = Σ_t δᵗ
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.making import maker
from jbptt.cells.pieces import blocks, join, maker_name
from jbptt.cells.products import block_diagonal
from jbptt.cells.rule import Cell
from jbptt.feedforward.activations import sigmoid, tanh
from jbptt.feedforward.layer import bias_gradient


class GRUState(NamedTuple):
    h: jax.Array


class GRUSaved(NamedTuple):
    """The gates and the candidate after their activations, and m = h⁻ Wn + bn: [B, H] each."""

    r: jax.Array
    u: jax.Array
    n: jax.Array
    m: jax.Array


def _pointwise(params, z, hW, state):
    zr, zu, zn = blocks(z, 3)
    qr, qu, qn = blocks(hW, 3)
    m = qn + jnp.broadcast_to(params["bn"], qn.shape) if "bn" in params else qn
    r, u = sigmoid(zr + qr), sigmoid(zu + qu)
    n = tanh(zn + r * m)
    return GRUState((1 - u) * n + u * state.h), GRUSaved(r, u, n, m)


def _pointwise_vjp(params, residuals, dstate):
    r, u, n, m = residuals.saved
    dh = dstate.h
    delta_n = dh * (1 - u) * tanh.prime(n)
    delta_u = dh * (residuals.h_prev - n) * sigmoid.prime(u)
    delta_r = delta_n * m * sigmoid.prime(r)
    return GRUState(dh * u), join(delta_r, delta_u, delta_n)


def _recurrent_delta(params, residuals, delta):
    delta_r, delta_u, delta_n = blocks(delta, 3)
    return join(delta_r, delta_u, delta_n * residuals.saved.r)


def _pointwise_weight_vjp(params, residuals, deltas):
    delta_n = blocks(deltas, 3)[2]
    return {"bn": bias_gradient(delta_n * residuals.saved.r)} if "bn" in params else {}


@maker
def gru_cell(*, bias: bool = True, heads: int = 1) -> Cell:
    """The gated recurrent unit, reset after the product.

    - `bias`: whether `init` makes "b" and "bn".
    - `heads`: W is block-diagonal, so many blocks; H must be a multiple.

    Parameters, gate blocks r, u, n: "U" [I, 3·H], "W" [H, 3·H] (with heads: [heads, H/heads, 3·H/heads]), "b" [3·H],
    "bn" [H], the candidate's recurrent bias. State: h.
    """
    product, bias = block_diagonal(heads), checks.flag("bias", bias)
    name = maker_name("gru", bias=(bias, True), heads=(int(heads), 1))
    return _gru_cell(name, bias, product)


@cache
def _gru_cell(name, bias, product):
    others = {"bn": (1,)}
    return gated_cell(
        name,
        gates=3,
        state_type=GRUState,
        init=gated_init(3, bias=bias, product=product, others=others if bias else {}),
        pointwise=_pointwise,
        pointwise_vjp=_pointwise_vjp,
        recurrent_delta=_recurrent_delta,
        pointwise_weight_vjp=_pointwise_weight_vjp,
        product=product,
        others=others,
        optional=("bn",),
        reference="Cho 2014, Chung 2014",
    )


gru = gru_cell()
