"""Planted bugs on the way back through time: each must be caught by the helper that the rest of the suite uses.

And what a cost of `sum(hs)` alone, every cotangent 1, would have said of the same bugs: it lets several pass.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import (
    ROWS_BY_NAME,
    SIZES,
    assert_caught,
    assert_close,
    assert_gradients_match,
    planted,
    twins,
)

import jbptt
from jbptt.backends.checkpointed import checkpointed
from jbptt.backends.protocol import differentiable
from jbptt.backends.scan import SCAN
from jbptt.cells.pieces import blocks, join, with_params
from jbptt.cells.rule import Consts
from jbptt.cells.table import CELLS
from jbptt.feedforward.layer import weight_gradient
from jbptt.recurrence.inputs import Inputs, Spec
from jbptt.recurrence.masks import Masks, where, zeros
from jbptt.recurrence.step import before_each_step, step_vjp

# Mutants of a rule: rule -> rule.


def step_vjp_then(change):
    """A rule whose step_vjp's result goes through `change(residuals, dstate, dz)`."""

    def mutate(rule):
        def step_vjp(weights, residuals, dstate):
            return change(residuals, *rule.step_vjp(weights, residuals, dstate))

        return rule._replace(step_vjp=step_vjp)

    return mutate


def permuted(*order):
    return step_vjp_then(
        lambda residuals, dstate, dz: (dstate, join(*[blocks(dz, len(order))[gate] for gate in order]))
    )


def scaled(*factors):
    def change(residuals, dstate, dz):
        return dstate, join(*[f * block for f, block in zip(factors, blocks(dz, len(factors)), strict=True)])

    return step_vjp_then(change)


def recurrent_weights(change):
    """Another Wᵀ."""
    return lambda rule: rule._replace(prepare_backward=lambda c: with_params(c, WT=change(c.params["W"])))


def parameters_first(change):
    """Other parameters for the way back."""
    return lambda rule: rule._replace(
        prepare_backward=lambda c: rule.prepare_backward(with_params(c, **change(c.params)))
    )


def undelayed(rule):
    """The lecture's slip: Wᵀ δᵗ, this step's own, in place of Wᵀ δᵗ⁺¹, the next one's."""

    def step_vjp(weights, residuals, dstate):
        own, _ = rule.step_vjp(weights, residuals, dstate)
        before, dz = rule.step_vjp(weights, residuals, dstate._replace(h=dstate.h + own.h))
        return before._replace(h=jnp.zeros_like(before.h)), dz

    return rule._replace(step_vjp=step_vjp)


def weights_from(change):
    def mutate(rule):
        def weight_vjp(consts, residuals, dzs):
            residuals, dzs, after = change(residuals, dzs)
            dparams = rule.weight_vjp(consts, residuals, dzs).params
            return Consts(dparams | {"W": after * dparams["W"]})

        return rule._replace(weight_vjp=weight_vjp)

    return mutate


def wrong_prime(rule):
    return jbptt.rnn_cell(replace(jbptt.tanh, prime=lambda a: 1 - a)).rule


def undecorated_delta(rule):
    """∂W from δ at z, where it is δ′ at h W."""

    def weight_vjp(consts, residuals, deltas):
        delta = deltas.z if hasattr(deltas, "z") else deltas
        dparams = rule.weight_vjp(consts, residuals, deltas).params
        return Consts(dparams | {"W": weight_gradient(residuals.h_prev, delta)})

    return rule._replace(weight_vjp=weight_vjp)


CELL_MUTANTS = {
    "rnn: the sign of δ": ("rnn", scaled(-1)),
    "rnn: f′ wrong": ("rnn", wrong_prime),
    "rnn: no Wᵀ path": ("rnn", recurrent_weights(jnp.zeros_like)),
    "rnn: W in place of Wᵀ": ("rnn", recurrent_weights(lambda W: W)),
    "rnn: δᵗ for δᵗ⁺¹": ("rnn", undelayed),
    "rnn: aᵗ for aᵗ⁻¹ in ∂W": (
        "rnn",
        weights_from(lambda residuals, dzs: (residuals._replace(h_prev=residuals.h), dzs, 1)),
    ),
    "rnn: ∂W a mean over time": ("rnn", weights_from(lambda residuals, dzs: (residuals, dzs, 1 / dzs.shape[0]))),
    "rnn: ∂W of δᵗ⁺¹": ("rnn", weights_from(lambda residuals, dzs: (residuals, jnp.roll(dzs, -1, axis=0), 1))),
    "rnn: ∂W without the first step": ("rnn", weights_from(lambda residuals, dzs: (residuals, dzs.at[0].set(0), 1))),
    "lstm: one gate's sign": ("lstm", scaled(1, -1, 1, 1)),
    "lstm: i and f swapped": ("lstm", permuted(1, 0, 2, 3)),
    "lstm: dc not through f": (
        "lstm",
        step_vjp_then(lambda residuals, d, dz: (d._replace(c=d.c / residuals.saved.f), dz)),
    ),
    "lstm: δᵗ for δᵗ⁺¹": ("lstm", undelayed),
    "gru: r and u swapped": ("gru", permuted(1, 0, 2)),
    "gru: dh not past u": ("gru", step_vjp_then(lambda residuals, d, dz: (d._replace(h=0.99 * d.h), dz))),
    "lstm_v: the peephole of o for that of i on the way back": (
        "lstm_v",
        parameters_first(lambda params: {"p": params["p"][::-1]}),
    ),
    "lstm_fgr: di⁻ dropped": (
        "lstm_fgr",
        step_vjp_then(lambda residuals, d, dz: (d._replace(i=0 * d.i), dz)),
    ),
    "lstm_projected: ∂R of dhᵗ⁺¹": (
        "lstm_projected",
        weights_from(lambda residuals, deltas: (residuals, deltas._replace(h=jnp.roll(deltas.h, -1, axis=0)), 1)),
    ),
    "lstm_layer_norm: δ for δ′ in ∂W": ("lstm_layer_norm", undecorated_delta),
    "lstm_depth_gated: the layers' dh swapped": (
        "lstm_depth_gated",
        step_vjp_then(lambda residuals, d, deltas: (d._replace(h=d.h_below, h_below=d.h), deltas)),
    ),
    "slstm: dm dropped": ("slstm", step_vjp_then(lambda residuals, d, dz: (d._replace(m=0 * d.m), dz))),
    "clockwork: modules at rest forget": (
        "clockwork",
        step_vjp_then(lambda residuals, d, dz: (d._replace(h=jnp.where(residuals.saved, d.h, 0 * d.h)), dz)),
    ),
    "rnn_heads: heads swapped on the way back": (
        "rnn_heads",
        parameters_first(lambda params: {"W": params["W"][::-1]}),
    ),
    "gru_reset_before: the candidate sees h⁻": (
        "gru_reset_before",
        weights_from(lambda residuals, dzs: (unreset(residuals), dzs, 1)),
    ),
    "gru: δ for δ′ in ∂W": ("gru", undecorated_delta),
}


def unreset(residuals):
    return residuals._replace(saved=residuals.saved._replace(r=jnp.ones_like(residuals.saved.r)))


@pytest.mark.parametrize("mutant", CELL_MUTANTS)
def test_mutants_of_a_cell(mutant):
    name, mutate = CELL_MUTANTS[mutant]
    _, auto, args = twins(ROWS_BY_NAME[name])
    mutated = CELLS[name]._replace(rule=mutate(CELLS[name].rule))
    assert_caught(lambda *args: jbptt.unroll(mutated, *args), auto, args)


# Mutants of a backend's backward: what goes into it, or comes out of it.


def cotangents_first(change):
    """`change(dstate, dhs)` before the way back."""
    return lambda backward: lambda spec, residuals, d: backward(spec, residuals, type(d)(*change(d.state, d.hs)))


def gradients_then(change):
    """`change(cotangents of the inputs)` after it."""
    return lambda backward: lambda *args: change(backward(*args))


def dropped(field):
    return cotangents_first(lambda d, dhs: (d._replace(**{field: jnp.zeros_like(getattr(d, field))}), dhs))


def zero_start(backward):
    def mutated(spec, residuals, cotangents):
        (inputs,) = residuals.args
        start = inputs.state._replace(h=jnp.zeros_like(inputs.state.h))
        return backward(spec, residuals._replace(args=(inputs._replace(state=start),)), cotangents)

    return mutated


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
    "dx in reversed time": gradients_then(lambda d: d._replace(xs=d.xs[::-1])),
    "the initial state's gradient dropped": gradients_then(lambda d: d._replace(state=None)),
    "b's gradient dropped": gradients_then(lambda d: d._replace(consts=with_params(d.consts, b=None))),
    "a zero start in place of the state": zero_start,
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


def with_backward(mutate, row):
    """(manual, by a backend with a mutated backward; auto; args) of a row."""
    manual, auto, args = twins(ROWS_BY_NAME[row])
    return partial(manual, backend=SCAN._replace(backward=mutate(SCAN.backward))), auto, args


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS)
def test_mutants_of_the_engine(mutant):
    assert_caught(*with_backward(ENGINE_MUTANTS[mutant], "lstm"))


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS)
def test_which_of_them_a_sum_of_hs_would_miss(mutant):
    manual, auto, args = with_backward(ENGINE_MUTANTS[mutant], "lstm")

    def gradients_of_sum(fn):
        return jax.jit(jax.grad(lambda args: jnp.sum(fn(*args)[1])))(args)

    got, expected = gradients_of_sum(manual), gradients_of_sum(auto)
    if mutant in UNSEEN_BY_A_SUM:
        assert_close(got, expected)
    else:
        with pytest.raises(AssertionError):
            assert_close(got, expected)


# Mutants of what is done to the state between steps.


def in_step(**mutations):
    """A backward whose step calls mutated functions of the masks."""

    def mutate(backward):
        names = step_vjp.__globals__
        mutated = {name: mutation(names[name]) for name, mutation in mutations.items()}
        return planted(backward, step_vjp=planted(step_vjp, **mutated))

    return mutate


def before_without_masks(backward):
    def mutated(array, first, reset, masks, reverse):
        return before_each_step(array, first, reset, Masks(), reverse)

    every_step = planted(backward.__globals__["_every_step"], before_each_step=mutated)
    return planted(backward, _every_step=every_step)


def before_of_what_is_put_out(backward):
    def mutated(array, first, reset, masks, reverse):
        return before_each_step(where(masks.valid, array, zeros(array)), first, reset, masks, reverse)

    every_step = planted(backward.__globals__["_every_step"], before_each_step=mutated)
    return planted(backward, _every_step=every_step)


MASK_MUTANTS = {
    "lengths: what stayed gets nothing": (
        "lengths",
        in_step(leave_vjp=lambda f: lambda m, d: (f(m, d)[0], zeros(d))),
    ),
    "lengths: the steps that there are not": (
        "lengths",
        in_step(leave_vjp=lambda f: lambda m, d: f(m._replace(valid=~m.valid), d)),
    ),
    "mask: ∂W with the h put out where there is no step": ("mask", before_of_what_is_put_out),
    "resets: gradients cross them": ("resets", in_step(enter_vjp=lambda f: lambda m, d: (d, f(m, d)[1]))),
    "resets: the reset state gets nothing": (
        "resets",
        in_step(enter_vjp=lambda f: lambda m, d: (f(m, d)[0], zeros(d))),
    ),
    "resets: ∂W with h from before them": ("resets", before_without_masks),
    "truncate: cuts ignored": ("truncate", in_step(enter_vjp=lambda f: lambda m, d: f(m._replace(cut=None), d))),
    "zoneout: what stayed gets nothing": (
        "zoneout",
        in_step(hold_vjp=lambda f: lambda m, d: (f(m, d)[0], zeros(d))),
    ),
    "zoneout: what did not stay gets all": ("zoneout", in_step(hold_vjp=lambda f: lambda m, d: (d, f(m, d)[1]))),
}


@pytest.mark.parametrize("name", MASK_MUTANTS)
def test_mutants_of_masks(name):
    row, mutate = MASK_MUTANTS[name]
    assert_caught(*with_backward(mutate, row))


def test_mutant_of_zoneout_with_h_put_out_for_h_made():
    """In what f′ of the simple cell is stated in. (Without a key: where units stay whole, δ is 0 whatever f′ is.)"""

    def mutate(backward):
        def mutated(spec, residuals, cotangents):
            steps = residuals.saved._replace(h=residuals.out.hs)
            return backward(spec, residuals._replace(saved=steps), cotangents)

        return mutated

    _, _, args = twins(ROWS_BY_NAME["rnn"])
    run = partial(jbptt.unroll, jbptt.rnn, zoneout=0.4)
    mutated = partial(run, backend=SCAN._replace(backward=mutate(SCAN.backward)))
    assert_caught(mutated, partial(run, vjp="auto"), args)


def test_mutant_of_checkpoints():
    """The last segment's weight gradients alone, in place of the sum."""
    _, auto, (params, xs, state, _) = twins(ROWS_BY_NAME["checkpoint"], SIZES._replace(T=4))
    broken = planted(checkpointed.__wrapped__, _plus=lambda total, more: total if more is None else more)

    def manual(params, xs, state, marks, make=broken):
        inputs = Inputs(Consts(params), state, xs)
        return tuple(differentiable(make(SCAN, 2))(Spec(jbptt.lstm.rule), inputs, vjp="manual"))[:2]

    args = params, xs, state, {}
    assert_gradients_match(partial(manual, make=checkpointed), auto, args)
    assert_caught(manual, auto, args)
