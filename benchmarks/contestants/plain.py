"""A plain lax.scan with the input's product inside it, as people write it; and the same body under `jbptt.scan`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

import jbptt
from benchmarks.contestants.protocol import Contestant, Weights


def lstm_step(params, state, x):
    h, c = state
    zi, zf, zg, zo = jnp.split(x @ params["U"] + h @ params["W"] + params["b"], 4, axis=-1)
    c = jax.nn.sigmoid(zf) * c + jax.nn.sigmoid(zi) * jnp.tanh(zg)
    h = jax.nn.sigmoid(zo) * jnp.tanh(c)
    return (h, c), h


def gru_step(params, state, x):
    (h,) = state
    zr, zu, zn = jnp.split(x @ params["U"] + params["b"], 3, axis=-1)
    qr, qu, qn = jnp.split(h @ params["W"], 3, axis=-1)
    r, u = jax.nn.sigmoid(zr + qr), jax.nn.sigmoid(zu + qu)
    n = jnp.tanh(zn + r * (qn + params["bn"]))
    h = (1 - u) * n + u * h
    return (h,), h


def rnn_step(params, state, x):
    (h,) = state
    h = jnp.tanh(x @ params["U"] + h @ params["W"] + params["b"])
    return (h,), h


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


def build(cell: str, weights: Weights, *, scan=lax.scan) -> Contestant:
    def function(params, xs, state):
        return scan(partial(STEPS[cell], params), state, xs)

    return Contestant(function, weights, lambda dparams: dparams)


deferred = partial(build, scan=jbptt.scan)
