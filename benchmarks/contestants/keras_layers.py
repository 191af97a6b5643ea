"""keras 3 on JAX: LSTM, GRU (reset_after) and SimpleRNN by stateless_call. Batch first, as keras has it."""

import os
from functools import lru_cache

os.environ["KERAS_BACKEND"] = "jax"

import jax.numpy as jnp
import keras

from benchmarks.contestants import Contestant, blocks


@lru_cache
def _layer(cell, inputs, units):
    options = {"return_sequences": True, "return_state": True}
    layer = {
        "lstm": lambda: keras.layers.LSTM(units, **options),
        "gru": lambda: keras.layers.GRU(units, reset_after=True, **options),
        "rnn": lambda: keras.layers.SimpleRNN(units, **options),
    }[cell]()
    layer.build((None, None, inputs))
    return layer


def _convert(cell, params):
    if cell != "gru":
        return [params["U"], params["W"], params["b"]]

    def order(array):
        r, u, n = blocks(array, cell)
        return jnp.concatenate([u, r, n], axis=-1)

    recurrent_bias = jnp.concatenate([jnp.zeros(2 * params["bn"].shape[0], params["bn"].dtype), params["bn"]])
    return [order(params["U"]), order(params["W"]), jnp.stack([order(params["b"]), recurrent_bias])]


def _run(cell, own, xs, state):
    layer = _layer(cell, xs.shape[-1], state[0].shape[-1])
    fixed = [variable.value for variable in layer.non_trainable_variables]
    (hs, *final), _ = layer.stateless_call(own, fixed, jnp.swapaxes(xs, 0, 1), initial_state=list(state))
    return tuple(final), jnp.swapaxes(hs, 0, 1)


contestant = Contestant("keras 3", _convert, _run)
