"""equinox's LSTMCell and GRUCell, vmapped over the batch inside lax.scan, as its documentation shows."""

import jax
from jax import lax

from benchmarks.contestants.protocol import Contestant, LeftOut, Weights, need
from jbptt.cells.table import CELLS
from jbptt.interop import to_equinox


def build(cell: str, weights: Weights) -> Contestant:
    need("equinox")
    if cell == "rnn":
        raise LeftOut("equinox has no simple recurrent cell")
    (network,) = to_equinox([CELLS[cell]], [weights])

    def function(network, xs, state):
        def step(state, x):
            state = jax.vmap(network)(x, state)
            return state, state[0] if cell == "lstm" else state

        state, hs = lax.scan(step, state if cell == "lstm" else state[0], xs)
        return (state if cell == "lstm" else (state,)), hs

    def canonical(dnetwork):
        gradients = {"U": dnetwork.weight_ih.T, "W": dnetwork.weight_hh.T, "b": dnetwork.bias}
        return gradients | {"bn": dnetwork.bias_n} if cell == "gru" else gradients

    return Contestant(function, network, canonical)
