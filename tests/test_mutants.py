"""Planted bugs on the way back through time: each must be caught by the helper that the rest of the suite uses.

And what a cost of `sum(hs)` alone, every cotangent 1, would have said of the same bugs: it lets several pass.
"""

import jax
import jax.numpy as jnp
import pytest
from helpers import ROWS_BY_NAME, assert_caught, assert_close, quick_jit, twins

import jbptt
from jbptt import hand_derived
from jbptt.cells.cell import blocks, join
from jbptt.cells.table import CELLS
from jbptt.recurrence import bptt, unrolling

# Mutants of a cell: cell -> cell.


def step_vjp_then(change):
    """A cell whose step_vjp's result goes through `change(kept, dstate, dz)`."""

    def mutate(cell):
        return cell._replace(
            step_vjp=lambda params, kept, dstate: change(kept, *cell.step_vjp(params, kept, dstate)),
        )

    return mutate


def permuted(*order):
    return step_vjp_then(lambda kept, dstate, dz: (dstate, join(*[blocks(dz, len(order))[gate] for gate in order])))


def scaled(*factors):
    def change(kept, dstate, dz):
        return dstate, join(*[f * block for f, block in zip(factors, blocks(dz, len(factors)), strict=True)])

    return step_vjp_then(change)


def recurrent_weights(change):
    return lambda cell: cell._replace(way_back=lambda params: params | {"WT": change(params["W"])})


def undelayed(cell):
    """The lecture's slip: Wᵀ δᵗ, this step's own, in place of Wᵀ δᵗ⁺¹, the next one's."""

    def step_vjp(params, kept, dstate):
        own, _ = cell.step_vjp(params, kept, dstate)
        before, dz = cell.step_vjp(params, kept, dstate._replace(h=dstate.h + own.h))
        return before._replace(h=jnp.zeros_like(before.h)), dz

    return cell._replace(step_vjp=step_vjp)


def weights_from(change):
    def mutate(cell):
        def weight_vjp(params, kept, dzs):
            kept, dzs, after = change(kept, dzs)
            dparams = cell.weight_vjp(params, kept, dzs)
            return dparams | {"W": after * dparams["W"]}

        return cell._replace(weight_vjp=weight_vjp)

    return mutate


def wrong_prime(cell):
    return jbptt.rnn_cell(jbptt.tanh._replace(prime=lambda a: 1 - a))


CELL_MUTANTS = {
    "rnn: the sign of δ": ("rnn", scaled(-1)),
    "rnn: f′ wrong": ("rnn", wrong_prime),
    "rnn: no Wᵀ path": ("rnn", recurrent_weights(jnp.zeros_like)),
    "rnn: W in place of Wᵀ": ("rnn", recurrent_weights(lambda W: W)),
    "rnn: δᵗ for δᵗ⁺¹": ("rnn", undelayed),
    "rnn: aᵗ for aᵗ⁻¹ in ∂W": ("rnn", weights_from(lambda kept, dzs: (kept._replace(h_prev=kept.h), dzs, 1))),
    "rnn: ∂W a mean over time": ("rnn", weights_from(lambda kept, dzs: (kept, dzs, 1 / dzs.shape[0]))),
    "rnn: ∂W of δᵗ⁺¹": ("rnn", weights_from(lambda kept, dzs: (kept, jnp.roll(dzs, -1, axis=0), 1))),
    "rnn: ∂W without the first step": ("rnn", weights_from(lambda kept, dzs: (kept, dzs.at[0].set(0), 1))),
    "lstm: one gate's sign": ("lstm", scaled(1, -1, 1, 1)),
    "lstm: i and f swapped": ("lstm", permuted(1, 0, 2, 3)),
    "lstm: dc not through f": ("lstm", step_vjp_then(lambda kept, d, dz: (d._replace(c=d.c / kept.saved.f), dz))),
    "lstm: δᵗ for δᵗ⁺¹": ("lstm", undelayed),
    "gru: r and u swapped": ("gru", permuted(1, 0, 2)),
    "gru: dh not past u": ("gru", step_vjp_then(lambda kept, d, dz: (d._replace(h=0.99 * d.h), dz))),
    "lstm_v: δo not through its peephole": (
        "lstm_v",
        step_vjp_then(
            lambda kept, d, dz: (d._replace(c=d.c - 0.5 * kept.saved.f * blocks(dz, 4)[3]), dz),
        ),
    ),
    "lstm_fgr: the gates' own cotangents dropped": (
        "lstm_fgr",
        step_vjp_then(lambda kept, d, dz: (d._replace(i=0 * d.i), dz)),
    ),
    "lstm_projected: ∂R of dhᵗ⁺¹": (
        "lstm_projected",
        weights_from(lambda kept, deltas: (kept, deltas._replace(h=jnp.roll(deltas.h, -1, axis=0)), 1)),
    ),
    "lstm_layer_norm: δ for δ′ in ∂W": (
        "lstm_layer_norm",
        weights_from(lambda kept, deltas: (unnormalised(kept), deltas, 1)),
    ),
    "lstm_depth_gated: the layers' δ swapped": (
        "lstm_depth_gated",
        step_vjp_then(lambda kept, d, deltas: (d._replace(h=d.h_below, h_below=d.h), deltas)),
    ),
    "slstm: dm dropped": ("slstm", step_vjp_then(lambda kept, d, dz: (d._replace(m=0 * d.m), dz))),
    "clockwork: modules at rest forget": (
        "clockwork",
        step_vjp_then(lambda kept, d, dz: (d._replace(h=jnp.where(kept.saved, d.h, 0 * d.h)), dz)),
    ),
    "rnn_heads: heads swapped on the way back": (
        "rnn_heads",
        lambda cell: cell._replace(way_back=lambda params: cell.way_back(params | {"W": params["W"][::-1]})),
    ),
    "gru_reset_before: the candidate sees h⁻": (
        "gru_reset_before",
        weights_from(lambda kept, dzs: (unreset(kept), dzs, 1)),
    ),
    "gru: δ for δ′ in ∂W": ("gru", weights_from(lambda kept, dzs: (unreset(kept), dzs, 1))),
}


def unnormalised(kept):
    y, s = kept.saved.hW
    return kept._replace(saved=kept.saved._replace(hW=(0 * y, s)))


def unreset(kept):
    return kept._replace(saved=kept.saved._replace(r=jnp.ones_like(kept.saved.r)))


@pytest.mark.parametrize("mutant", CELL_MUTANTS)
def test_mutants_of_a_cell(mutant):
    name, mutate = CELL_MUTANTS[mutant]
    _, auto, args = twins(ROWS_BY_NAME[name])
    mutated = mutate(CELLS[name])
    assert_caught(lambda *args: jbptt.unroll(mutated, *args), auto, args)


# Mutants of the engine: what goes into, or comes out of, the way back.


def cotangents_first(change):
    """`change(dstate, dhs)` before the way back."""
    return lambda bwd: lambda cell, length, residuals, cts: bwd(cell, length, residuals, change(*cts))


def gradients_then(change):
    """`change(dparams, dstate, dzs)` after it."""
    return lambda bwd: lambda *args: change(*bwd(*args))


def residuals_first(change):
    return lambda bwd: lambda cell, length, residuals, cts: bwd(cell, length, change(residuals), cts)


def dropped(field):
    return cotangents_first(lambda d, dhs: (d._replace(**{field: jnp.zeros_like(getattr(d, field))}), dhs))


ENGINE_MUTANTS = {
    "dhs dropped": cotangents_first(lambda dstate, dhs: (dstate, jnp.zeros_like(dhs))),
    "final dh dropped": dropped("h"),
    "final dc dropped": dropped("c"),
    "dhs in reversed time": cotangents_first(lambda dstate, dhs: (dstate, dhs[::-1])),
    "dhs one step late": cotangents_first(lambda dstate, dhs: (dstate, jnp.roll(dhs, 1, axis=0))),
    "dhs of another example": cotangents_first(lambda dstate, dhs: (dstate, jnp.roll(dhs, 1, axis=1))),
    "dhs the mean over the batch": cotangents_first(
        lambda dstate, dhs: (dstate, jnp.broadcast_to(dhs.mean(1, keepdims=True), dhs.shape))
    ),
    "dz in reversed time": gradients_then(lambda dparams, dstate, dzs: (dparams, dstate, dzs[::-1])),
    "the initial state's gradient dropped": gradients_then(
        lambda dparams, dstate, dzs: (dparams, jax.tree.map(jnp.zeros_like, dstate), dzs)
    ),
    "b's gradient dropped": gradients_then(lambda dparams, dstate, dzs: (dparams | {"b": None}, dstate, dzs)),
    "a zero start in place of the state": residuals_first(lambda r: r._replace(h_start=jnp.zeros_like(r.h_start))),
}
UNSEEN_BY_A_SUM = {
    "final dh dropped",
    "final dc dropped",
    "dhs in reversed time",
    "dhs one step late",
    "dhs of another example",
    "dhs the mean over the batch",
}
"""With every cotangent of hs 1 and of the final state 0, these change nothing."""


@pytest.fixture(params=ENGINE_MUTANTS)
def mutant(request, monkeypatch):
    """The name of a mutant, planted in the engine."""
    monkeypatch.setattr(hand_derived, "HAND_DERIVED", [])  # where a HandDerived enters itself
    bwd = ENGINE_MUTANTS[request.param](bptt._bptt_bwd)
    monkeypatch.setattr(unrolling, "recur", hand_derived.HandDerived(bptt.forward, bptt._bptt_fwd, bwd, static=2))
    return request.param


def test_mutants_of_the_engine(mutant):
    manual, auto, args = twins(ROWS_BY_NAME["lstm"])
    assert_caught(manual, auto, args)


def test_which_of_them_a_sum_of_hs_would_miss(mutant):
    manual, auto, args = twins(ROWS_BY_NAME["lstm"])

    def gradients_of_sum(fn):
        return quick_jit(jax.grad(lambda args: jnp.sum(fn(*args)[1])))(args)

    got, expected = gradients_of_sum(manual), gradients_of_sum(auto)
    if mutant in UNSEEN_BY_A_SUM:
        assert_close(got, expected)
    else:
        with pytest.raises(AssertionError):
            assert_close(got, expected)
