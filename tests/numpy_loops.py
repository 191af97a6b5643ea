"""Every forward equation again, as plain NumPy loops over time: an oracle that shares no code with the library.

Gates are mostly cut out of U and W one at a time, with a product each; losses are their textbook formulas.
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
    """(U, W, b) of one gate, W [H, H] whatever its layout."""
    W, heads = params["W"], 1
    if W.ndim == 3:  # block-diagonal: [heads, D, G·D]
        heads, D, _ = W.shape
    elif W.ndim == 1:  # diagonal
        W = np.diag(W)
    H = heads * D if heads > 1 else W.shape[0]
    block = slice(number * H, (number + 1) * H)
    if heads > 1:
        dense = np.zeros((H, H))
        for head in range(heads):
            of_head = slice(head * D, (head + 1) * D)
            dense[of_head, of_head] = W[head][:, number * D : (number + 1) * D]
    else:
        dense = W[:, block]
    return params["U"][:, block], dense, params["b"][block] if "b" in params else 0.0


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


def leaky_rnn(params, xs, state, alpha=0.2, mask=1.0, signs=None):
    (U, W, b), (h,) = gate(params, 0), state
    W = mask * (W if signs is None else np.abs(W) * signs[:, None])
    hs = []
    for x in xs:
        h = h + alpha * (np.maximum(x @ U + h @ W + b, 0) - h)
        hs.append(h)
    return (h,), np.stack(hs)


def clockwork(params, xs, state):
    """Module by module: at time t, each one whose period divides t reads the old h of itself and of the slower."""
    (U, W, b), (h, t) = gate(params, 0), state
    periods = (1, 2, 4, 8)
    D = h.shape[-1] // len(periods)
    hs = []
    for x in xs:
        old = h.copy()
        h = h.copy()
        for j, period in enumerate(periods):
            own, slower = slice(j * D, (j + 1) * D), slice(j * D, None)
            new = np.tanh(x @ U[:, own] + old[:, slower] @ W[slower, own] + b[own])
            works = (t % period == 0)[:, None]
            h[:, own] = np.where(works, new, old[:, own])
        t = t + 1
        hs.append(h)
    return (h, t), np.stack(hs)


def lstm(blocks="ifgo", peepholes="", *, coupled=False, g=np.tanh, y=np.tanh, gate_recurrence=False):
    """Every form of the Odyssey: a gate that is not among the blocks is 1."""

    def loop(params, xs, state):
        h, c, *gates = state
        H = c.shape[-1]
        weights = {name: gate(params, number) for number, name in enumerate(blocks)}
        peephole = {name: params["p"][n * H : (n + 1) * H] for n, name in enumerate(peepholes)}
        hs = []
        for x in xs:
            z = {name: x @ U + h @ W + b for name, (U, W, b) in weights.items()}
            if gate_recurrence:
                for to, name in enumerate("ifo"):
                    for of, before in enumerate(gates):
                        z[name] = z[name] + before @ params["R"][of * H : (of + 1) * H, to * H : (to + 1) * H]
            i = sigmoid(z["i"] + peephole.get("i", 0) * c) if "i" in z else 1.0
            f = sigmoid(z["f"] + peephole.get("f", 0) * c) if "f" in z else 1.0
            f = 1 - i if coupled else f
            c = f * c + i * g(z["g"])
            o = sigmoid(z["o"] + peephole.get("o", 0) * c) if "o" in z else 1.0
            h = o * y(c)
            gates = [i, f, o] if gate_recurrence else []
            hs.append(h)
        return (h, c, *gates), np.stack(hs)

    return loop


def lstm_projected(params, xs, state):
    h, c = state
    H = c.shape[-1]
    hs = []
    for x in xs:
        z = x @ params["U"] + h @ params["W"] + params["b"]
        i, f, g, o = (z[:, n * H : (n + 1) * H] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ params["R"]
        hs.append(h)
    return (h, c), np.stack(hs)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def lstm_layer_norm(params, xs, state):
    h, c = state
    H = c.shape[-1]
    hs = []
    for x in xs:
        z = params["gU"] * layer_norm(x @ params["U"]) + params["gW"] * layer_norm(h @ params["W"]) + params["b"]
        i, f, g, o = (z[:, n * H : (n + 1) * H] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(params["gc"] * layer_norm(c) + params["bc"])
        hs.append(h)
    return (h, c), np.stack(hs)


def lstm_depth_gated(params, xs, state):
    """Two layers, written out one after the other."""
    h2, h1, cs = state
    H = h2.shape[-1]
    c1, c2 = cs[:, :H], cs[:, H:]

    def cut(array, n):
        return array[..., n * H : (n + 1) * H]

    W1, W2 = params["W"]
    (p1, p2), (U2,), (b2,), (pd,) = params["p"], params["U_above"], params["b_above"], params["p_above"]
    hs = []
    for x in xs:
        z = x @ params["U"] + h1 @ W1 + params["b"]
        i, f = sigmoid(cut(z, 0) + cut(p1, 0) * c1), sigmoid(cut(z, 1) + cut(p1, 1) * c1)
        c1 = f * c1 + i * np.tanh(cut(z, 2))
        h1 = sigmoid(cut(z, 3) + cut(p1, 2) * c1) * np.tanh(c1)
        zx, zh = h1 @ U2 + b2, h2 @ W2
        i = sigmoid(cut(zx, 0) + cut(zh, 0) + cut(p2, 0) * c2)
        f = sigmoid(cut(zx, 1) + cut(zh, 1) + cut(p2, 1) * c2)
        d = sigmoid(cut(zx, 4) + cut(pd, 0) * c2 + cut(pd, 1) * c1)
        c2 = d * c1 + f * c2 + i * np.tanh(cut(zx, 2) + cut(zh, 2))
        h2 = sigmoid(cut(zx, 3) + cut(zh, 3) + cut(p2, 2) * c2) * np.tanh(c2)
        hs.append(h2)
    return (h2, h1, np.concatenate([c1, c2], axis=-1)), np.stack(hs)


def slstm(params, xs, state):
    """No stabiliser inside: c and n as the paper first has them, divided by exp(m) only where they are stored."""
    h, c, n, m = state
    c, n = c * np.exp(m), n * np.exp(m)
    weights = [gate(params, number) for number in range(4)]
    hs = []
    for x in xs:
        zi, zf, zg, zo = (x @ U + h @ W + b for U, W, b in weights)
        m = np.maximum(np.log(sigmoid(zf)) + m, zi)
        c = sigmoid(zf) * c + np.exp(zi) * np.tanh(zg)
        n = sigmoid(zf) * n + np.exp(zi)
        h = sigmoid(zo) * c / n
        hs.append(h)
    return (h, c / np.exp(m), n / np.exp(m), m), np.stack(hs)


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


def gru_reset_before(params, xs, state):
    (h,) = state
    (Ur, Wr, br), (Uu, Wu, bu), (Un, Wn, bn) = (gate(params, number) for number in range(3))
    hs = []
    for x in xs:
        r = sigmoid(x @ Ur + br + h @ Wr)
        u = sigmoid(x @ Uu + bu + h @ Wu)
        n = np.tanh(x @ Un + bn + (r * h) @ Wn)
        h = n + u * (h - n)
        hs.append(h)
    return (h,), np.stack(hs)


def mgu(params, xs, state):
    (h,) = state
    (Uf, Wf, bf), (Un, Wn, bn) = (gate(params, number) for number in range(2))
    hs = []
    for x in xs:
        f = sigmoid(x @ Uf + bf + h @ Wf)
        h = (1 - f) * h + f * np.tanh(x @ Un + bn + (f * h) @ Wn)
        hs.append(h)
    return (h,), np.stack(hs)


def identity(z):
    return z


CELL_LOOPS = {
    "rnn": rnn("tanh"),
    "rnn_sigmoid": rnn("sigmoid"),
    "rnn_relu": rnn("relu"),
    "rnn_nobias": rnn("tanh"),
    "rnn_heads": rnn("tanh"),
    "irnn": rnn("relu"),
    "indrnn": rnn("relu"),
    "leaky_rnn": leaky_rnn,
    "clockwork": clockwork,
    "lstm": lstm(),
    "lstm_nobias": lstm(),
    "lstm_heads": lstm(),
    "lstm_v": lstm(peepholes="ifo"),
    "lstm_nig": lstm("fgo", "fo"),
    "lstm_nfg": lstm("igo", "io"),
    "lstm_nog": lstm("ifg", "if"),
    "lstm_niaf": lstm(peepholes="ifo", g=identity),
    "lstm_noaf": lstm(peepholes="ifo", y=identity),
    "lstm_cifg": lstm("igo", "io", coupled=True),
    "lstm_fgr": lstm(peepholes="ifo", gate_recurrence=True),
    "lstm_coupled": lstm("igo", coupled=True),
    "lstm_depth_gated": lstm_depth_gated,
    "lstm_projected": lstm_projected,
    "lstm_layer_norm": lstm_layer_norm,
    "slstm": slstm,
    "gru": gru,
    "gru_nobias": gru,
    "gru_heads": gru,
    "gru_reset_before": gru_reset_before,
    "mgu": mgu,
}
"""One loop a cell, by the names of `jbptt.cells.table.CELLS`: a new cell needs its own here."""


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
