"""haiku.dynamic_unroll over LSTM, whose hidden f + 1 is taken off the bias. (Its GRU resets before the product, and its
VanillaRNN is a relu: other cells than ours.)"""

import haiku as hk
import jax.numpy as jnp

from benchmarks.contestants import Contestant, blocks


def _convert(cell, params):
    def order(array):
        i, f, g, o = blocks(array, cell)
        return jnp.concatenate([i, g, f, o], axis=-1)

    H = params["W"].shape[0]
    bias = order(params["b"]) - jnp.repeat(jnp.asarray([0.0, 0.0, 1.0, 0.0], params["b"].dtype), H)
    return {"lstm/linear": {"w": jnp.concatenate([order(params["U"]), order(params["W"])]), "b": bias}}


def _run(cell, own, xs, state):
    def forward(xs, state):
        hs, final = hk.dynamic_unroll(hk.LSTM(state[0].shape[-1], name="lstm"), xs, hk.LSTMState(*state))
        return (final.hidden, final.cell), hs

    return hk.without_apply_rng(hk.transform(forward)).apply(own, xs, state)


contestant = Contestant("haiku unroll", _convert, _run, cells=("lstm",))
