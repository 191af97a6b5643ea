"""flax.linen.RNN around OptimizedLSTMCell, GRUCell and SimpleCell."""

import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, Weights, need

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": " "}


def build(cell: str, weights: Weights) -> Contestant:
    need("flax")
    from flax import linen

    H = weights["W"].shape[0]
    makers = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell}
    network = makers[cell](H, dtype=weights["U"].dtype, param_dtype=weights["U"].dtype)
    rnn = linen.RNN(network, time_major=True, return_carry=True)
    layers = {}
    blocks = [jnp.split(weights[name], len(GATES[cell]), axis=-1) for name in ("U", "W", "b")]
    for gate, U, W, b in zip(GATES[cell], *blocks, strict=True):
        gate = gate.strip()
        layers[f"i{gate}"], layers[f"h{gate}"] = {"kernel": U}, {"kernel": W}
        layers[f"h{gate}" if cell == "lstm" else f"i{gate}"]["bias"] = b
    if cell == "gru":
        layers["hn"]["bias"] = weights["bn"]

    def function(params, xs, state):
        carry = (state[1], state[0]) if cell == "lstm" else state[0]
        carry, hs = rnn.apply({"params": params}, xs, initial_carry=carry)
        return ((carry[1], carry[0]) if cell == "lstm" else (carry,)), hs

    def canonical(dparams):
        cells = dparams["cell"]
        biased = "h" if cell == "lstm" else "i"

        def join(prefix, leaf):
            return jnp.concatenate([cells[prefix + gate.strip()][leaf] for gate in GATES[cell]], axis=-1)

        gradients = {"U": join("i", "kernel"), "W": join("h", "kernel"), "b": join(biased, "bias")}
        return gradients | {"bn": cells["hn"]["bias"]} if cell == "gru" else gradients

    note = "one kernel a gate: its GRU multiplies six times a step" if cell == "gru" else ""
    return Contestant(function, {"cell": layers}, canonical, note=note)
