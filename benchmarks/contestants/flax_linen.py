"""flax.linen.RNN over OptimizedLSTMCell, GRUCell and SimpleCell (state (c, h) for the LSTM)."""

import flax.linen as nn

from benchmarks.contestants import Contestant, blocks

_CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}
_NAMES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("",)}


def _convert(cell, params):
    inputs, recurrent, biases = (blocks(params[key], cell) for key in ("U", "W", "b"))
    own = {}
    for name, U, W, b in zip(_NAMES[cell], inputs, recurrent, biases, strict=True):
        own[f"i{name}"], own[f"h{name}"] = {"kernel": U}, {"kernel": W}
        own[f"h{name}" if cell == "lstm" else f"i{name}"]["bias"] = b
    if cell == "gru":
        own["hn"]["bias"] = params["bn"]
    return {"params": {"cell": own}}


def _run(cell, own, xs, state):
    layer = nn.RNN(_CELLS[cell](state[0].shape[-1]), time_major=True, return_carry=True)
    carry, hs = layer.apply(own, xs, initial_carry=state[::-1] if cell == "lstm" else state[0])
    return (carry[::-1] if cell == "lstm" else (carry,)), hs


contestant = Contestant("flax.linen RNN", _convert, _run)
