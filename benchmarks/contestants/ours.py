"""This library: the hand-derived backward pass, and JAX's of the same forward."""

from functools import partial

import jbptt
from benchmarks.contestants.protocol import Contestant, Weights

CELLS = {
    "lstm": (jbptt.lstm, jbptt.LSTMState),
    "gru": (jbptt.gru, jbptt.GRUState),
    "rnn": (jbptt.rnn, jbptt.RNNState),
}


def build(cell: str, weights: Weights, *, vjp: str) -> Contestant:
    ours, state_type = CELLS[cell]

    def function(params, xs, state):
        state, hs = jbptt.unroll(ours, params, xs, state_type(*state), vjp=vjp)
        return tuple(state), hs

    return Contestant(function, weights, lambda dparams: dparams)


manual = partial(build, vjp="manual")
auto = partial(build, vjp="auto")
