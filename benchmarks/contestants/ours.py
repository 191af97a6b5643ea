"""jbptt itself: the hand-derived backward pass, and jax.grad's of the same forward."""

from functools import partial

import jbptt
from benchmarks.contestants import Contestant


def _run(cell, params, xs, state, *, vjp):
    start = {"lstm": jbptt.LSTMState, "gru": jbptt.GRUState, "rnn": jbptt.RNNState}[cell](*state)
    final, hs = jbptt.unroll(getattr(jbptt, cell), params, xs, start, vjp=vjp)
    return tuple(final), hs


manual = Contestant("jbptt manual", lambda cell, params: params, partial(_run, vjp="manual"))
auto = Contestant("jbptt auto", lambda cell, params: params, partial(_run, vjp="auto"))
