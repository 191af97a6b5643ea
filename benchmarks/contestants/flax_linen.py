"""flax.linen.RNN around OptimizedLSTMCell, GRUCell and SimpleCell."""

import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, Weights, need
from jbptt.cells.table import CELLS
from jbptt.interop import to_flax

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": " "}


def build(cell: str, weights: Weights) -> Contestant:
    need("flax")
    (rnn,), (variables,) = to_flax([CELLS[cell]], [weights], linen=True)

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
    return Contestant(function, variables["params"], canonical, note=note)
