"""keras 3's LSTM, GRU and SimpleRNN layers on its JAX backend, through `stateless_call`."""

import os

import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, LeftOut, Weights, need


def build(cell: str, weights: Weights) -> Contestant:
    os.environ["KERAS_BACKEND"] = "jax"  # read when keras is first imported
    need("keras")
    import keras

    if keras.backend.backend() != "jax":
        raise LeftOut(f"keras was already imported with the {keras.backend.backend()} backend")
    I, H = weights["U"].shape[0], weights["W"].shape[0]
    maker = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}[cell]
    layer = maker(H, return_sequences=True, return_state=True, dtype=weights["U"].dtype.name)
    layer.build((None, None, I))
    constants = [variable.value for variable in layer.non_trainable_variables]

    def theirs(array):  # the GRU's gate blocks u, r, n
        if cell != "gru":
            return array
        r, u, n = jnp.split(array, 3, axis=-1)
        return jnp.concatenate([u, r, n], axis=-1)

    b = theirs(weights["b"])
    if cell == "gru":
        b = jnp.stack([b, jnp.concatenate([jnp.zeros(2 * H, b.dtype), weights["bn"]])])
    params = [theirs(weights["U"]), theirs(weights["W"]), b]  # in the order of layer.trainable_variables

    def function(params, xs, state):
        (hs, *state), _ = layer.stateless_call(params, constants, xs, initial_state=list(state))
        return tuple(state), hs

    def canonical(dparams):
        U, W, b = dparams
        gradients = {"U": theirs(U), "W": theirs(W)}  # exchanging the first two undoes itself
        return gradients | ({"b": theirs(b[0]), "bn": b[1, 2 * H :]} if cell == "gru" else {"b": b})

    note = "batch-major: it transposes xs and hs itself"
    if cell == "gru":
        note += "; recurrent bias [3·H] in place of bn [H]; the input's product before the scan"
    return Contestant(function, params, canonical, batch_major=True, note=note)
