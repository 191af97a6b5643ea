"""This library: the hand-derived backward pass, by C++ kernels where there are some, and by a scan; and JAX's of the
same forward."""

from functools import partial

import jbptt
from benchmarks.contestants.protocol import Contestant, LeftOut, Weights

CELLS = {
    "lstm": (jbptt.lstm, jbptt.LSTMState),
    "gru": (jbptt.gru, jbptt.GRUState),
    "rnn": (jbptt.rnn, jbptt.RNNState),
}


def build(cell: str, weights: Weights, *, vjp: str, backend: str | None = None) -> Contestant:
    ours, state_type = CELLS[cell]

    def function(params, xs, state):
        state, hs = jbptt.unroll(ours, params, xs, state_type(*state), vjp=vjp, backend=backend)
        return tuple(state), hs

    return Contestant(function, weights, lambda dparams: dparams)


manual = partial(build, vjp="manual")
auto = partial(build, vjp="auto")


def scan(cell: str, weights: Weights) -> Contestant:
    if not jbptt.backends()["native"].available:
        raise LeftOut("the same as jbptt manual: there are no kernels here")
    return build(cell, weights, vjp="manual", backend="xla")
