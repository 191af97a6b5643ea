"""flax.nnx.RNN over OptimizedLSTMCell, GRUCell (which has no recurrent bias in the candidate) and SimpleCell."""

from flax import nnx

from benchmarks.contestants import Contestant

_CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}


def _layer(cell, inputs, units):
    return nnx.RNN(_CELLS[cell](inputs, units, rngs=nnx.Rngs(0)), time_major=True, return_carry=True, rngs=False)


def _convert(cell, params):
    dense_i, dense_h = {"kernel": params["U"]}, {"kernel": params["W"]}
    (dense_h if cell == "lstm" else dense_i)["bias"] = params["b"]
    return {"dense_i": dense_i, "dense_h": dense_h}


def _run(cell, own, xs, state):
    graph, _, rest = nnx.split(nnx.eval_shape(lambda: _layer(cell, xs.shape[-1], state[0].shape[-1])), nnx.Param, ...)
    layer = nnx.merge(
        graph, nnx.State({"cell": {k: {n: nnx.Param(v) for n, v in d.items()} for k, d in own.items()}}), rest
    )
    carry, hs = layer(xs, initial_carry=state[::-1] if cell == "lstm" else state[0])
    return (carry[::-1] if cell == "lstm" else (carry,)), hs


contestant = Contestant("flax.nnx RNN", _convert, _run, lacks={"gru": ("bn",)})
