"""Every forward equation again, as plain NumPy loops over time: an oracle that shares no code with the library.

Gates are cut out of U and W one at a time, products are per gate, losses are their textbook formulas.
"""

import numpy as np

ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "identity": lambda z: z,
}
sigmoid = ACTIVATIONS["sigmoid"]


def gate(params, number):
    """(U, W, b) of one gate."""
    H = params["W"].shape[0]
    block = slice(number * H, (number + 1) * H)
    return params["U"][:, block], params["W"][:, block], params["b"][block] if "b" in params else 0.0


def rnn(activation):
    def loop(params, xs, state):
        f, (U, W, b), (h,) = ACTIVATIONS[activation], gate(params, 0), state
        hs = []
        for x in xs:  # x is None where there is no input
            z = h @ W + b
            h = f(z if x is None else z + x @ U)
            hs.append(h)
        return (h,), np.stack(hs)

    return loop


def lstm(params, xs, state):
    h, c = state
    gates = [gate(params, number) for number in range(4)]
    hs = []
    for x in xs:
        zi, zf, zg, zo = (x @ U + h @ W + b for U, W, b in gates)
        c = sigmoid(zf) * c + sigmoid(zi) * np.tanh(zg)
        h = sigmoid(zo) * np.tanh(c)
        hs.append(h)
    return (h, c), np.stack(hs)


def gru(params, xs, state):
    (h,) = state
    (Ur, Wr, br), (Uu, Wu, bu), (Un, Wn, bn) = (gate(params, number) for number in range(3))
    hs = []
    for x in xs:
        r = sigmoid(x @ Ur + br + h @ Wr)
        u = sigmoid(x @ Uu + bu + h @ Wu)
        n = np.tanh(x @ Un + bn + r * (h @ Wn + params.get("bn", 0.0)))
        h = n + u * (h - n)
        hs.append(h)
    return (h,), np.stack(hs)


CELL_LOOPS = {
    "rnn": rnn("tanh"),
    "rnn_sigmoid": rnn("sigmoid"),
    "rnn_relu": rnn("relu"),
    "rnn_nobias": rnn("tanh"),
    "lstm": lstm,
    "lstm_nobias": lstm,
    "gru": gru,
    "gru_nobias": gru,
}
"""One loop a cell, by the names of `jbptt.comparison.rows.CELLS`: a new cell needs its own here."""


def network(params, inputs, state, *, all_outputs):
    """The lecture's four networks with a tanh cell: `inputs` holds None at the times without one."""
    state, hs = rnn("tanh")(params["cell"], inputs, state)
    h = hs if all_outputs else hs[-1]
    return state, h @ params["V"] + params.get("c", 0.0)


def siso(params, x, state, length):
    return network(params, [x] + [None] * (length - 1), state, all_outputs=False)


def simo(params, x, state, length):
    return network(params, [x] + [None] * (length - 1), state, all_outputs=True)


def miso(params, xs, state):
    return network(params, list(xs), state, all_outputs=False)


def mimo(params, xs, state):
    return network(params, list(xs), state, all_outputs=True)


def mlp(params, x, activation, output_activation):
    for layer in params[:-1]:
        x = ACTIVATIONS[activation](x @ layer["w"] + layer.get("b", 0.0))
    return ACTIVATIONS[output_activation](x @ params[-1]["w"] + params[-1].get("b", 0.0))


def reduced(costs, weights, reduction):
    total = np.sum(weights * costs)
    return total / np.sum(weights) if reduction == "mean" else total


def mse(y, t):
    return (y - t) ** 2 / 2


def binary_cross_entropy(z, t):
    y = sigmoid(z)
    return -t * np.log(y) - (1 - t) * np.log(1 - y)


def softmax_cross_entropy(z, t):
    y = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    if np.issubdtype(t.dtype, np.integer):
        t = np.eye(z.shape[-1])[t]
    return -(t * np.log(y)).sum(-1)
