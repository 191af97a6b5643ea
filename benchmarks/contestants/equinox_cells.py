"""equinox's LSTMCell and GRUCell, vmapped over the batch inside lax.scan, as its documentation shows."""

import jax
from jax import lax

from benchmarks.contestants.protocol import Contestant, LeftOut, Weights, need


def build(cell: str, weights: Weights) -> Contestant:
    need("equinox")
    import equinox

    if cell == "rnn":
        raise LeftOut("equinox has no simple recurrent cell")
    maker = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}[cell]
    H = weights["W"].shape[0]
    network = maker(weights["U"].shape[0], H, dtype=weights["U"].dtype, key=jax.random.key(0))
    fields = {"weight_ih": weights["U"].T, "weight_hh": weights["W"].T, "bias": weights["b"]}
    if cell == "gru":
        fields["bias_n"] = weights["bn"]
    network = equinox.tree_at(lambda n: [getattr(n, name) for name in fields], network, list(fields.values()))

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
