"""sLSTM, the scalar cell of xLSTM (Beck 2024): exponential gates, with a normaliser and a stabiliser.

    (zi, zf, zg, zo) = x U + b + h⁻ W
    a = log σ(zf) + m⁻       m = max(a, zi)            the stabiliser: no exponent below is above 0
    i = exp(zi − m)          f = exp(a − m)            g = tanh(zg)     o = σ(zo)
    c = f ⊙ c⁻ + i ⊙ g       n = f ⊙ n⁻ + i            y = c / n        h = o ⊙ y

(With `exponential_forget`, a = zf + m⁻.) Where nothing has been stored yet, n⁻ = 0, m is zi, however small that is.
m cancels in c / n, but c and n are handed on divided by exp(m), so it has a gradient of its own. Backward, from dh, dc,
dn and dm:

    δo = dh ⊙ y ⊙ o (1 − o)        dy = dh ⊙ o
    dc ← dc + dy / n               dn ← dn − dy ⊙ y / n
    df = dc ⊙ c⁻ + dn ⊙ n⁻         di = dc ⊙ g + dn          δg = dc ⊙ i ⊙ (1 − g²)
    dm ← dm − df ⊙ f − di ⊙ i
    da = df ⊙ f + [m = a] dm        δi = di ⊙ i + [m = zi] dm
    δf = da ⊙ σ(−zf)               (da, with `exponential_forget`)
    dc⁻ = dc ⊙ f      dn⁻ = dn ⊙ f      dm⁻ = da             dh⁻ = Wᵀ δ
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.lstm import forgetting_little
from jbptt.cells.making import maker
from jbptt.cells.pieces import blocks, join, maker_name
from jbptt.cells.products import block_diagonal
from jbptt.cells.rule import NO_COTANGENT, Cell
from jbptt.feedforward.activations import sigmoid, tanh


class SLSTMState(NamedTuple):
    """h, the cell state c and its normaliser n, both divided by exp(m), and the stabiliser m: [B, H] each."""

    h: jax.Array
    c: jax.Array
    n: jax.Array
    m: jax.Array


class SLSTMSaved(NamedTuple):
    """Gates after their activations, ∂a/∂zf, whether m is a, the state before the step, n after it, y: [B, H] each."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array
    a_prime: jax.Array
    m_is_a: jax.Array
    c_prev: jax.Array
    n_prev: jax.Array
    n: jax.Array
    y: jax.Array


@maker
def slstm_cell(*, heads: int = 4, exponential_forget: bool = False, bias: bool = True) -> Cell:
    """sLSTM.

    - `heads`: W is block-diagonal, so many blocks; H must be a multiple.
    - `exponential_forget`: f = exp(zf) in place of σ(zf).
    - `bias`: whether `init` makes a "b", its forget block 1.

    Parameters, gate blocks i, f, g, o: "U" [I, 4·H], "W" [heads, H/heads, 4·H/heads] (one head: [H, 4·H]), "b" [4·H].
    State: h, c, n, m.
    """
    product, exponential_forget, bias = (
        block_diagonal(heads),
        checks.flag("exponential_forget", exponential_forget),
        checks.flag("bias", bias),
    )
    name = maker_name("slstm", heads=(int(heads), 4), exponential_forget=(exponential_forget, False), bias=(bias, True))
    return _slstm_cell(name, product, exponential_forget, bias)


@cache
def _slstm_cell(name, product, exponential_forget, bias):
    def pointwise(params, z, hW, state):
        zi, zf, zg, zo = blocks(z + hW, 4)
        g, o = tanh(zg), sigmoid(zo)
        log_f = zf if exponential_forget else jax.nn.log_sigmoid(zf)
        a_prime = jnp.ones_like(zf) if exponential_forget else sigmoid(-zf)
        a = log_f + state.m
        m_is_a = (a > zi) & (state.n != 0)
        m = jnp.where(m_is_a, a, zi)
        i, f = jnp.exp(zi - m), jnp.exp(jnp.minimum(a - m, 0))  # a > m where n⁻ = 0: f multiplies zeros there
        c, n = f * state.c + i * g, f * state.n + i
        y = c / n
        saved = SLSTMSaved(i, f, g, o, a_prime, m_is_a, state.c, state.n, n, y)
        return SLSTMState(o * y, c, n, m), saved

    return gated_cell(
        name,
        gates=4,
        state_type=SLSTMState,
        init=forgetting_little(gated_init(4, bias=bias, product=product)),
        pointwise=pointwise,
        pointwise_vjp=_pointwise_vjp,
        product=product,
        reference="Beck 2024",
    )


def _pointwise_vjp(params, residuals, dstate):
    i, f, g, o, a_prime, m_is_a, c_prev, n_prev, n, y = residuals.saved
    dh, dc, dn, dm = dstate
    delta_o = dh * y * sigmoid.prime(o)
    dy_over_n = dh * o / n
    dc = dc + dy_over_n
    dn = dn - dy_over_n * y
    df = (dc * c_prev + dn * n_prev) * f  # at log f, as di is at log i
    di = (dc * g + dn) * i
    delta_g = dc * i * tanh.prime(g)
    dm = dm - df - di
    da = df + jnp.where(m_is_a, dm, jnp.zeros_like(dm))
    delta_i = di + jnp.where(m_is_a, jnp.zeros_like(dm), dm)
    return SLSTMState(NO_COTANGENT, dc * f, dn * f, da), join(delta_i, da * a_prime, delta_g, delta_o)


slstm = slstm_cell()
