"""flax.nnx.RNN around OptimizedLSTMCell, GRUCell and SimpleCell, through the functional API (split, merge)."""

from benchmarks.contestants.protocol import Contestant, Weights, need
from jbptt.cells.table import CELLS
from jbptt.interop import to_flax


def build(cell: str, weights: Weights) -> Contestant:
    need("flax")
    from flax import nnx

    (theirs,) = to_flax([CELLS[cell]], [weights])
    graph, params = nnx.split(nnx.RNN(theirs.cell, time_major=True, return_carry=True, rngs=False))
    H = weights["W"].shape[0]

    def function(params, xs, state):
        carry = (state[1], state[0]) if cell == "lstm" else state[0]
        carry, hs = nnx.merge(graph, params)(xs, initial_carry=carry)
        return ((carry[1], carry[0]) if cell == "lstm" else (carry,)), hs

    def canonical(dparams):
        layers = nnx.to_pure_dict(dparams)["cell"]
        input_layer, recurrent_layer = layers["dense_i"], layers["dense_h"]
        biased = recurrent_layer if cell == "lstm" else input_layer
        gradients = {"U": input_layer["kernel"], "W": recurrent_layer["kernel"], "b": biased["bias"]}
        return gradients | {"bn": recurrent_layer["bias"][2 * H :]} if cell == "gru" else gradients

    note = "its recurrent layer given a bias [3·H], for the one inside the reset that nnx.GRUCell lacks"
    return Contestant(function, params, canonical, note=note if cell == "gru" else "")
