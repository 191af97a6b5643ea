"""keras 3's LSTM, GRU and SimpleRNN layers on its JAX backend, through `stateless_call`."""

import os

import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, LeftOut, Weights, need
from jbptt.cells.table import CELLS
from jbptt.interop import to_keras


def build(cell: str, weights: Weights) -> Contestant:
    os.environ["KERAS_BACKEND"] = "jax"  # read when keras is first imported
    need("keras")
    import keras

    if keras.backend.backend() != "jax":
        raise LeftOut(f"keras was already imported with the {keras.backend.backend()} backend")
    (layer,) = to_keras([CELLS[cell]], [weights])
    layer.return_state = True
    params = [variable.value for variable in layer.trainable_variables]
    constants = [variable.value for variable in layer.non_trainable_variables]

    def ours(array):  # of the GRU's gate blocks u, r, n
        if cell != "gru":
            return array
        u, r, n = jnp.split(array, 3, axis=-1)
        return jnp.concatenate([r, u, n], axis=-1)

    def function(params, xs, state):
        (hs, *state), _ = layer.stateless_call(params, constants, xs, initial_state=list(state))
        return tuple(state), hs

    def canonical(dparams):
        U, W, b = dparams
        gradients = {"U": ours(U), "W": ours(W)}
        return gradients | ({"b": ours(b[0]), "bn": b[1, 2 * W.shape[0] :]} if cell == "gru" else {"b": b})

    note = "batch-major: it transposes xs and hs itself"
    if cell == "gru":
        note += "; recurrent bias [3·H] in place of bn [H]; the input's product before the scan"
    return Contestant(function, params, canonical, batch_major=True, note=note)
