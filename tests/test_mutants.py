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
from jbptt.feedforward.layer import weight_gradient
from jbptt.recurrence import bptt, checkpointing, unrolling
from jbptt.recurrence.marks import Marks

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


def undecorated_delta(cell):
    """∂W from δ at z, where it is δ′ at h W."""

    def weight_vjp(params, kept, deltas):
        delta = deltas if cell.name == "gru" else deltas.z
        return cell.weight_vjp(params, kept, deltas) | {"W": weight_gradient(kept.h_prev, delta)}

    return cell._replace(weight_vjp=weight_vjp)


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
    "lstm_v: the peephole of o for that of i on the way back": (
        "lstm_v",
        lambda cell: cell._replace(way_back=lambda params: cell.way_back(params | {"p": params["p"][::-1]})),
    ),
    "lstm_fgr: di⁻ dropped": (
        "lstm_fgr",
        step_vjp_then(lambda kept, d, dz: (d._replace(i=0 * d.i), dz)),
    ),
    "lstm_projected: ∂R of dhᵗ⁺¹": (
        "lstm_projected",
        weights_from(lambda kept, deltas: (kept, deltas._replace(h=jnp.roll(deltas.h, -1, axis=0)), 1)),
    ),
    "lstm_layer_norm: δ for δ′ in ∂W": ("lstm_layer_norm", undecorated_delta),
    "lstm_depth_gated: the layers' dh swapped": (
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
    "gru: δ for δ′ in ∂W": ("gru", undecorated_delta),
}


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
    return lambda bwd: lambda cell, direction, residuals, cts: bwd(cell, direction, residuals, change(*cts))


def gradients_then(change):
    """`change(dparams, dstate, dxs)` after it."""

    def mutate(bwd):
        def mutated(*args):
            dparams, dstate, dreset_state, dsequence = bwd(*args)
            dparams, dstate, dxs = change(dparams, dstate, dsequence.xs)
            return dparams, dstate, dreset_state, dsequence._replace(xs=dxs)

        return mutated

    return mutate


def residuals_first(change):
    return lambda bwd: lambda cell, direction, residuals, cts: bwd(cell, direction, change(residuals), cts)


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
    "dx in reversed time": gradients_then(lambda dparams, dstate, dxs: (dparams, dstate, dxs[::-1])),
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
    bwd = ENGINE_MUTANTS[request.param](bptt.bptt_bwd)
    monkeypatch.setattr(unrolling, "recur", hand_derived.HandDerived(bptt.forward, bptt.bptt_fwd, bwd, static=2))
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


# Mutants of what is done to the state between steps.

MARK_MUTANTS = {
    "lengths: what stayed gets nothing": (
        "lengths",
        "leave_vjp",
        lambda f: lambda m, d, dh: (f(m, d, dh)[0], bptt.zeros(d)),
    ),
    "lengths: h put out past the end": (
        "lengths",
        "leave_vjp",
        lambda f: lambda m, d, dh: f(m._replace(valid=~m.valid), d, dh),
    ),
    "resets: gradients cross them": ("resets", "enter_vjp", lambda f: lambda m, d: (d, f(m, d)[1])),
    "resets: the reset state gets nothing": ("resets", "enter_vjp", lambda f: lambda m, d: (f(m, d)[0], bptt.zeros(d))),
    "resets: ∂W with h from before them": (
        "resets",
        "before_each_step",
        lambda f: (
            lambda residuals, reverse: f(
                residuals._replace(sequence=residuals.sequence._replace(marks=Marks())), reverse
            )
        ),
    ),
    "truncate: cuts ignored": ("truncate", "enter_vjp", lambda f: lambda m, d: f(m._replace(cut=None), d)),
}


@pytest.mark.parametrize("name", MARK_MUTANTS)
def test_mutants_of_marks(name, monkeypatch):
    row, function, mutate = MARK_MUTANTS[name]
    manual, auto, args = twins(ROWS_BY_NAME[row])
    monkeypatch.setattr(bptt, function, mutate(getattr(bptt, function)))
    assert_caught(manual, auto, args)


def test_mutant_of_checkpoints(monkeypatch):
    """The last segment's weight gradients alone, in place of the sum."""
    manual, auto, args = twins(ROWS_BY_NAME["checkpoint"])
    monkeypatch.setattr(checkpointing, "plus", lambda total, more: total if more is None else more)
    assert_caught(manual, auto, args)
