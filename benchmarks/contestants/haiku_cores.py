"""haiku.dynamic_unroll of hk.LSTM, and of its VanillaRNN with tanh in place of ReLU."""

import jax.numpy as jnp

import jbptt
from benchmarks.contestants.protocol import Contestant, LeftOut, Weights, need
from jbptt.interop import to_haiku


def build(cell: str, weights: Weights) -> Contestant:
    need("haiku")
    if cell == "gru":
        raise LeftOut("hk.GRU resets before the product: another cell, which no weights make equal")
    return _lstm(weights) if cell == "lstm" else _rnn(weights)


def _lstm(weights):
    import haiku as hk

    I, H = weights["U"].shape[0], weights["W"].shape[0]

    def unroll(xs, state):
        hs, state = hk.dynamic_unroll(hk.LSTM(H), xs, hk.LSTMState(*state))
        return tuple(state), hs

    def ours(array):  # of gate blocks i, g, f, o
        i, g, f, o = jnp.split(array, 4, axis=-1)
        return jnp.concatenate([i, f, g, o], axis=-1)

    def canonical(dparams):
        layer = dparams["lstm/linear"]
        w, b = ours(layer["w"]), ours(layer["b"])
        return {"U": w[:I], "W": w[I:], "b": b}

    note = "one product of [x, h]; the 1 that it adds to its forget gate is taken off the bias it is given"
    return Contestant(_transformed(hk, unroll), to_haiku([jbptt.lstm], [weights]), canonical, note=note)


def _rnn(weights):
    import haiku as hk

    H = weights["W"].shape[0]

    class TanhRNN(hk.VanillaRNN):
        """hk.VanillaRNN(double_bias=False), line by line, but for its ReLU."""

        def __call__(self, inputs, prev_state):
            input_to_hidden = hk.Linear(self.hidden_size)
            hidden_to_hidden = hk.Linear(self.hidden_size, with_bias=self.double_bias)
            out = jnp.tanh(input_to_hidden(inputs) + hidden_to_hidden(prev_state))
            return out, out

    def unroll(xs, state):
        core = TanhRNN(H, double_bias=False, name="rnn")
        hs, h = hk.dynamic_unroll(core, xs, state[0])
        return (h,), hs

    params = {"rnn/linear": {"w": weights["U"], "b": weights["b"]}, "rnn/linear_1": {"w": weights["W"]}}

    def canonical(dparams):
        input_layer, recurrent_layer = dparams["rnn/linear"], dparams["rnn/linear_1"]
        return {"U": input_layer["w"], "W": recurrent_layer["w"], "b": input_layer["b"]}

    note = "hk.VanillaRNN with its ReLU exchanged for tanh"
    return Contestant(_transformed(hk, unroll), params, canonical, note=note)


def _transformed(hk, unroll):
    return hk.without_apply_rng(hk.transform(unroll)).apply
