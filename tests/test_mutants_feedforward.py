"""Planted bugs in the backward passes of layers and losses: each must be caught by the helper that the suite uses."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, TOLERANCE, assert_caught, assert_close, assert_gradients_match, planted, twins

import jbptt
from jbptt.autodiff import HandDerived
from jbptt.feedforward import layer, losses, output, perceptron


def dense(**wrong):
    """With these in place of what the way back through a layer calls."""
    backward = planted(layer._backward, affine_vjp=planted(layer.affine_vjp, **wrong))
    return planted(jbptt.dense, _dense_by=HandDerived(layer.affine, layer._forward_residuals, backward))


def mlp(**wrong):
    backward = planted(perceptron._backward, affine_vjp=planted(layer.affine_vjp, **wrong))
    by_hand = HandDerived(perceptron._mlp, perceptron._forward_residuals, backward, static=1)
    return partial(planted(jbptt.mlp, _mlp_by=by_hand), activation=jbptt.sigmoid)


def output_loss(of_rows=output._costs_and_gradients, backward=output._backward, over=output._over_chunks):
    """With these in place of what is worked out of some rows, of all, and on the way back."""
    forward_residuals = planted(output._forward_residuals, _costs_and_gradients=of_rows, _over_chunks=over)
    by_hand = HandDerived(output._loss, forward_residuals, backward, static=1, narrowed=output._narrowed)
    return partial(planted(jbptt.dense_softmax_cross_entropy, _loss_by=by_hand), chunk=2)


def of_last_chunk(of_rows, how, params, x, classes, weights):
    sums, each = output._over_chunks(of_rows, how, params, x, classes, weights)
    last, _ = of_rows(how, params, x[-how.steps :], classes[-how.steps :], weights[-how.steps :])
    return sums._replace(dparams=last.dparams), each


MUTANTS = {
    "mlp: f′ wrong": ("mlp", partial(jbptt.mlp, activation=replace(jbptt.sigmoid, prime=lambda a: a))),
    "mlp: ∂w a mean over rows": ("mlp", mlp(weight_gradient=lambda a, d: layer.weight_gradient(a, d) / a.shape[0])),
    "mlp: w in place of wᵀ": ("mlp", mlp(times_transposed=lambda d, w: layer.times_transposed(d, w[::-1]))),
    "dense: ∂b of the first row": ("dense", dense(bias_gradient=lambda d: layer.bias_gradient(d[:1]))),
    "mse: y − t not scaled": (
        "mse",
        planted(jbptt.mse, _mse_vjp=lambda y, t, d: losses._mse_vjp(y, t, jnp.ones_like(d))),
    ),
    "mse: the sign of ∂t": ("mse", planted(jbptt.mse, _mse_vjp=lambda y, t, d: (losses._mse_vjp(y, t, d)[0],) * 2)),
    "output: δ without the rows' weights": (
        "dense_softmax_cross_entropy",
        output_loss(lambda how, *args: output._costs_and_gradients(how, *args[:-1], jnp.ones_like(args[-1]))),
    ),
    "output: ∂w of the last chunk alone": ("dense_softmax_cross_entropy", output_loss(over=of_last_chunk)),
    "output: the loss's cotangent is not asked": (
        "dense_softmax_cross_entropy",
        output_loss(backward=lambda how, residuals, dloss: output._backward(how, residuals, jnp.ones_like(dloss))),
    ),
    "softmax: y − t, whatever t sums to": (
        "softmax_cross_entropy",
        planted(
            jbptt.softmax_cross_entropy,
            _softmax_ce_vjp=lambda z, t, d: (
                d[..., None] * (jax.nn.softmax(z) - t),
                losses._softmax_ce_vjp(z, t, d)[1],
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name):
    row, mutated = MUTANTS[name]
    _, auto, args = twins(ROWS_BY_NAME[row])
    assert_caught(mutated, auto, args)


@pytest.mark.parametrize(
    "name, unplanted", [("mlp", mlp()), ("dense", dense()), ("dense_softmax_cross_entropy", output_loss())]
)
def test_without_a_bug_what_is_planted_in_passes(name, unplanted):
    _, auto, args = twins(ROWS_BY_NAME[name])
    assert_gradients_match(unplanted, auto, args)


def test_helper_passes_what_is_right_and_finds_nan():
    _, auto, args = twins(ROWS_BY_NAME["mse"])
    assert_gradients_match(auto, auto, args)
    assert_caught(lambda *args: auto(*args) + jnp.nan, auto, args)
    assert TOLERANCE["float64"] == 1e-12
    with pytest.raises(AssertionError):
        assert_close(np.ones(3) + 2e-12, np.ones(3))
