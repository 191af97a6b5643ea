"""flax.nnx.RNN around OptimizedLSTMCell, GRUCell and SimpleCell, through the functional API (split, merge)."""

import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, Weights, need


def build(cell: str, weights: Weights) -> Contestant:
    need("flax")
    from flax import nnx

    U, W, b = weights["U"], weights["W"], weights["b"]
    I, H = U.shape[0], W.shape[0]
    options = {"dtype": U.dtype, "param_dtype": U.dtype, "rngs": nnx.Rngs(0)}
    zeros = {"recurrent_kernel_init": nnx.initializers.zeros_init()}  # its own default cannot make bfloat16
    note = ""
    if cell == "lstm":
        network = nnx.OptimizedLSTMCell(I, H, **options, **zeros)
        input_bias, recurrent_bias = None, b
    elif cell == "gru":
        network = nnx.GRUCell(I, H, **options, **zeros)
        network.dense_h = nnx.Linear(H, 3 * H, use_bias=True, **options)  # nnx's own has no bias inside the reset
        input_bias, recurrent_bias = b, jnp.concatenate([jnp.zeros(2 * H, b.dtype), weights["bn"]])
        note = "its recurrent layer given a bias [3·H], for the one inside the reset that nnx.GRUCell lacks"
    else:
        network = nnx.SimpleCell(I, H, **options, **zeros)
        input_bias, recurrent_bias = b, None
    rnn = nnx.RNN(network, time_major=True, return_carry=True, rngs=False)
    for layer, kernel, bias in ((network.dense_i, U, input_bias), (network.dense_h, W, recurrent_bias)):
        layer.kernel[...] = kernel
        if bias is not None:
            layer.bias[...] = bias
    graph, params = nnx.split(rnn)

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

    return Contestant(function, params, canonical, note=note)
