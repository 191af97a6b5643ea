"""Planted bugs in the backward passes of layers and losses: each must be caught by the helper that the suite uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, TOLERANCE, assert_caught, assert_close, assert_gradients_match, twins

import jbptt
from jbptt.feedforward import layer, losses

MUTANTS = {
    "mlp: f′ wrong": ("mlp", None, None),
    "mlp: ∂w a mean over rows": ("mlp", (layer, "weight_gradient"), lambda f: lambda a, d: f(a, d) / a.shape[0]),
    "mlp: w in place of wᵀ": ("mlp", (layer, "times_transposed"), lambda f: lambda d, w: f(d, w[::-1])),
    "dense: ∂b of the first row": ("dense", (layer, "bias_gradient"), lambda f: lambda d: f(d[:1])),
    "mse: y − t not scaled": ("mse", (losses, "_mse_vjp"), lambda f: lambda y, t, d: f(y, t, jnp.ones_like(d))),
    "mse: the sign of ∂t": ("mse", (losses, "_mse_vjp"), lambda f: lambda y, t, d: (f(y, t, d)[0],) * 2),
    "softmax: y − t, whatever t sums to": (
        "softmax_cross_entropy",
        (losses, "_softmax_ce_vjp"),
        lambda f: lambda z, t, d: (d[..., None] * (jax.nn.softmax(z) - t), f(z, t, d)[1]),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name, monkeypatch):
    row, place, mutate = MUTANTS[name]
    manual, auto, args = twins(ROWS_BY_NAME[row])
    if place is None:
        wrong = jbptt.sigmoid._replace(prime=lambda a: a)
        assert_caught(lambda *args: jbptt.mlp(*args, activation=wrong), auto, args)
    else:
        monkeypatch.setattr(*place, mutate(getattr(*place)))
        assert_caught(manual, auto, args)


def test_helper_passes_what_is_right_and_finds_nan():
    _, auto, args = twins(ROWS_BY_NAME["mse"])
    assert_gradients_match(auto, auto, args)
    assert_caught(lambda *args: auto(*args) + jnp.nan, auto, args)
    assert TOLERANCE["float64"] == 1e-12
    with pytest.raises(AssertionError):
        assert_close(np.ones(3) + 2e-12, np.ones(3))
