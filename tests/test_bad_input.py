"""Bad input: the right exception, with a message that names the argument; never an error from inside JAX."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt import gru, lstm, rnn

T, B, I, H, O = 5, 3, 4, 6, 7
KEY = jax.random.key(0)
PARAMS, GRU, NET = lstm.init(KEY, I, H), gru.init(KEY, I, H), jbptt.network_init(KEY, rnn, I, H, O)
MLP = jbptt.mlp_init(KEY, [I, H, O])
XS = jnp.zeros((T, B, I), jnp.float32)
X, Y = XS[0], jnp.zeros((B, O), jnp.float32)
STATE = lstm.initial_state(PARAMS, (B,))
PROJECTED = jbptt.lstm_projected.init(KEY, I, H)
CLOCKED = jbptt.clockwork_cell((1, 2))
CLASSES = jnp.zeros(B, jnp.int32)
CLASS_7 = CLASSES + O


def unroll(xs=XS, state=None, *, cell=lstm, vjp="manual", **changes):
    return jbptt.unroll(cell, (GRU if cell is gru else PARAMS) | changes, xs, state, vjp=vjp)


def miso(xs=XS, activation=jbptt.identity, **changes):
    return jbptt.miso(rnn, NET | changes, xs, activation=activation)


def output_loss(x=None, targets=CLASSES, **options):
    x = zeros(B, H) if x is None else x
    return jbptt.dense_softmax_cross_entropy(MLP[1], x, targets, **options)


def zeros(*shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype)


UNROLL = {
    "xs of rank 1": (ValueError, r"xs must have shape \[T, B, I\]", lambda: unroll(zeros(I))),
    "xs of rank 0": (ValueError, r"xs must have shape", lambda: unroll(zeros())),
    "xs of other features": (ValueError, r"xs must have I = 4 features", lambda: unroll(zeros(T, B, 5))),
    "booleans for xs": (TypeError, r"xs must be floating point .*, got bool", lambda: unroll(XS > 0)),
    "complex xs": (TypeError, r"xs must be floating point", lambda: unroll(XS.astype(jnp.complex64))),
    "xs of float64": (TypeError, r"xs is float64 but params\['U'\] is float32", lambda: unroll(XS.astype(jnp.float64))),
    "no xs": (TypeError, r"xs must be an array, got NoneType", lambda: unroll(None)),
    "text for xs": (TypeError, r"xs must be an array, got str", lambda: unroll("abc")),
    "unknown vjp": (ValueError, r"vjp must be one of .*got 'both'", lambda: unroll(vjp="both")),
    "vjp of None": (ValueError, r"vjp must be one of", lambda: unroll(vjp=None)),
    "a maker for a cell": (TypeError, r"cell must be a jbptt.Cell", lambda: unroll(cell=jbptt.lstm_cell)),
    "a name for a cell": (TypeError, r"cell must be a jbptt.Cell", lambda: unroll(cell="lstm")),
    "a list for params": (ValueError, r"params must be a dict", lambda: jbptt.unroll(lstm, [PARAMS], XS)),
    "no params": (ValueError, r"params must be a dict", lambda: jbptt.unroll(lstm, None, XS)),
    "a key that no one reads": (ValueError, r"maybe \['b'\], got .*'bias'", lambda: unroll(bias=zeros(4 * H))),
    "float16": (TypeError, r"xs must be floating point \(float32", lambda: unroll(XS.astype(jnp.float16))),
    "params without W": (
        ValueError,
        r"params must have the keys \['U', 'W'\]",
        lambda: jbptt.unroll(lstm, {"U": PARAMS["U"]}, XS),
    ),
    "another cell's params": (ValueError, r"params\['W'\].*G = 3 for gru", lambda: jbptt.unroll(gru, PARAMS, XS)),
    "U of another width": (ValueError, r"params\['U'\] must have shape", lambda: unroll(U=zeros(I, 5))),
    "U of rank 1": (ValueError, r"params\['U'\] must have shape", lambda: unroll(U=zeros(I))),
    "W of rank 1": (ValueError, r"params\['W'\] must have shape", lambda: unroll(W=zeros(H))),
    "W of another dtype": (
        TypeError,
        r"params\['W'\] is bfloat16",
        lambda: unroll(W=zeros(H, 4 * H, dtype="bfloat16")),
    ),
    "integer W": (TypeError, r"params\['W'\] must be floating", lambda: unroll(W=zeros(H, 4 * H, dtype=int))),
    "a list for U": (TypeError, r"params\['U'\] must be an array, got list", lambda: unroll(U=[[0.0]])),
    "None for U": (TypeError, r"params\['U'\] must be an array, got NoneType", lambda: unroll(U=None)),
    "None for b": (TypeError, r"params\['b'\] must be an array, got NoneType", lambda: unroll(b=None)),
    "a number for b": (TypeError, r"params\['b'\] must be an array, got float", lambda: unroll(b=0.0)),
    "b of another size": (ValueError, r"params\['b'\] .*\[G·H\] = \[24\], got \[6\]", lambda: unroll(b=zeros(H))),
    "b of another dtype": (TypeError, r"params\['b'\] is float64", lambda: unroll(b=jnp.zeros(4 * H))),
    "bn of another size": (ValueError, r"params\['bn'\].*\[H\] = \[6\]", lambda: unroll(cell=gru, bn=zeros(5))),
    "bn of another dtype": (TypeError, r"params\['bn'\] is float64", lambda: unroll(cell=gru, bn=jnp.zeros(H))),
    "a plain tuple for a state": (
        ValueError,
        r"state must be LSTMState\(h, c\), got tuple: make it with",
        lambda: unroll(state=tuple(STATE)),
    ),
    "h alone for a state": (ValueError, r"state must be LSTMState\(h, c\), got Array", lambda: unroll(state=STATE.h)),
    "another cell's state": (ValueError, r"state must .*LSTMState", lambda: unroll(state=gru.initial_state(GRU, (B,)))),
    "a state of None": (ValueError, r"state must have the structure", lambda: unroll(state=STATE._replace(c=None))),
    "a state of another batch": (
        ValueError,
        r"state.h must have shape \[3, 6\], got \[2, 6\]; state.c must",
        lambda: unroll(state=lstm.initial_state(PARAMS, (2,))),
    ),
    "a state without batch": (ValueError, r"state.h must have", lambda: unroll(state=lstm.initial_state(PARAMS, ()))),
    "a state of float64": (
        TypeError,
        r"state.c must be float32, got float64",
        lambda: unroll(state=STATE._replace(c=STATE.c.astype(jnp.float64))),
    ),
    "a state of integers": (
        TypeError,
        r"state.h must be",
        lambda: unroll(state=STATE._replace(h=zeros(B, H, dtype=int))),
    ),
    "a state of text": (TypeError, r"state.h must be an array", lambda: unroll(state=STATE._replace(h="h"))),
}
MAKERS = {
    "peepholes out of order": (ValueError, r'peepholes must be some of "ifo"', lambda: jbptt.lstm_cell(peepholes="oi")),
    "peepholes twice": (ValueError, r"peepholes must be", lambda: jbptt.lstm_cell(peepholes="ii")),
    "peepholes of True": (ValueError, r"peepholes must be .*got True", lambda: jbptt.lstm_cell(peepholes=True)),
    "a peephole without its gate": (
        ValueError,
        r"peepholes 'i' .*'fgo'",
        lambda: jbptt.lstm_cell(peepholes="i", input_gate=False),
    ),
    "a peephole of a coupled gate": (
        ValueError,
        r"peepholes 'if' .*'igo'",
        lambda: jbptt.lstm_cell(peepholes="if", coupled=True),
    ),
    "coupled to no gate": (ValueError, r"coupled=True", lambda: jbptt.lstm_cell(coupled=True, input_gate=False)),
    "gate recurrence without a gate": (
        ValueError,
        r"gate_recurrence=True needs all three",
        lambda: jbptt.lstm_cell(gate_recurrence=True, coupled=True),
    ),
    "forget bias without the gate": (
        ValueError,
        r"forget_bias 1.0 has no bias",
        lambda: jbptt.lstm_cell(forget_bias=1.0, forget_gate=False),
    ),
    "an activation for a flag": (
        TypeError,
        r"input_activation must be True or False",
        lambda: jbptt.lstm_cell(input_activation=jbptt.relu),
    ),
    "a word for a flag": (TypeError, r"bias must be True or False, got 'no'", lambda: jbptt.gru_cell(bias="no")),
    "an infinite forget bias": (
        ValueError,
        r"forget_bias must be finite",
        lambda: jbptt.lstm_cell(forget_bias=jnp.inf),
    ),
    "a word for a forget bias": (TypeError, r"forget_bias must be a number", lambda: jbptt.lstm_cell(forget_bias="a")),
    "a period beyond int32": (
        ValueError,
        r"periods must be at most",
        lambda: jbptt.clockwork_cell((2**32, 1)),
    ),
    "a dtype that is none": (TypeError, r"dtype must be floating", lambda: lstm.init(KEY, I, H, "float31")),
    "a word for reverse": (TypeError, r"reverse must be", lambda: jbptt.unroll(lstm, PARAMS, XS, reverse="yes")),
    "lengths of floats": (TypeError, r"lengths must be int", lambda: jbptt.unroll(lstm, PARAMS, XS, lengths=zeros(B))),
    "lengths beyond T": (
        ValueError,
        r"lengths must be in 0..T = 0..5, got 0..6",
        lambda: jbptt.unroll(lstm, PARAMS, XS, lengths=np.array([0, 6, 1])),
    ),
    "lengths of another batch": (
        ValueError,
        r"lengths must have shape \[B\] = \[3\]",
        lambda: jbptt.unroll(lstm, PARAMS, XS, lengths=np.array([1])),
    ),
    "a mask of integers": (
        TypeError,
        r"mask must be booleans",
        lambda: jbptt.unroll(lstm, PARAMS, XS, mask=np.ones((T, B), int)),
    ),
    "a mask of another shape": (
        ValueError,
        r"mask must have shape \[T, B\]",
        lambda: jbptt.unroll(lstm, PARAMS, XS, mask=np.ones((T, 1), bool)),
    ),
    "resets of integers": (
        TypeError,
        r"resets must be booleans",
        lambda: jbptt.unroll(lstm, PARAMS, XS, resets=np.zeros((T, B), int)),
    ),
    "resets of another shape": (
        ValueError,
        r"resets must have shape \[T, B\]",
        lambda: jbptt.unroll(lstm, PARAMS, XS, resets=np.zeros((B, T), bool)),
    ),
    "a reset state without resets": (
        ValueError,
        r"give resets",
        lambda: jbptt.unroll(lstm, PARAMS, XS, reset_state=STATE),
    ),
    "truncate of 0": (ValueError, r"truncate must be", lambda: jbptt.unroll(lstm, PARAMS, XS, truncate=0)),
    "checkpoint of a word": (ValueError, r"checkpoint must be", lambda: jbptt.unroll(lstm, PARAMS, XS, checkpoint="a")),
    "no heads": (ValueError, r"heads must be at least 1", lambda: jbptt.gru_cell(heads=0)),
    "half a head": (TypeError, r"heads must be an int", lambda: jbptt.rnn_cell(heads=0.5)),
    "H no multiple of heads": (
        ValueError,
        r"hidden_size must be a multiple of heads = 4, got 6",
        lambda: jbptt.slstm.init(KEY, I, H),
    ),
    "H no multiple of modules": (
        ValueError,
        r"hidden_size must be a multiple of the 4 modules, got 6",
        lambda: jbptt.clockwork.init(KEY, I, H),
    ),
    "no periods": (ValueError, r"periods must be a tuple of ints", lambda: jbptt.clockwork_cell(())),
    "a number for periods": (ValueError, r"periods must be a tuple of ints", lambda: jbptt.clockwork_cell(4)),
    "a period of 0": (ValueError, r"periods must be at least 1", lambda: jbptt.clockwork_cell((1, 0))),
    "clockwork of an activation that keeps z": (
        ValueError,
        r"activation sine must have its f′ stated in f",
        lambda: jbptt.clockwork_cell(activation=jbptt.Activation("sine", jnp.sin, jnp.cos, "input")),
    ),
    "jnp.tanh for indrnn": (TypeError, r"activation must be a jbptt.Activation", lambda: jbptt.indrnn_cell(jnp.tanh)),
    "proj_size of 0": (ValueError, r"proj_size must be at least 1", lambda: jbptt.lstm_projected_cell(0)),
    "a name that is taken": (
        ValueError,
        r"others must have names of their own, and \['WT'\] are taken",
        lambda: jbptt.gated_cell(
            "mine",
            gates=1,
            state_type=jbptt.RNNState,
            init=None,
            pointwise=None,
            pointwise_vjp=None,
            others={"WT": (1,)},
        ),
    ),
    "layers of 1.5": (TypeError, r"layers must be an int", lambda: jbptt.lstm_depth_gated_cell(1.5)),
    "R of another H": (
        ValueError,
        r"params\['R'\] must have shape \[H, P\] = \[6, 3\], got \[5, 3\]",
        lambda: jbptt.unroll(jbptt.lstm_projected, PROJECTED | {"R": zeros(5, 3)}, XS),
    ),
    "W of no heads": (
        ValueError,
        r"params\['W'\] must have shape \[heads, H/heads, G·H/heads\] = \[2, 3, 12\], got \[6, 24\]",
        lambda: unroll(cell=jbptt.lstm_cell(heads=2)),
    ),
    "peepholes of another size": (
        ValueError,
        r"params\['p'\] must have shape \[3·H\] = \[18\], got \[6\]",
        lambda: unroll(cell=jbptt.LSTM_VARIANTS["V"], p=zeros(H)),
    ),
    "V without peepholes": (
        ValueError,
        r"params must have the keys \['U', 'W', 'p'\].*make it with the init of lstm_cell\(peepholes='ifo'\)",
        lambda: unroll(cell=jbptt.LSTM_VARIANTS["V"]),
    ),
    "gate recurrence without R": (
        ValueError,
        r"params must have the keys \['R', 'U', 'W', 'p'\]",
        lambda: unroll(cell=jbptt.LSTM_VARIANTS["FGR"], p=zeros(3 * H)),
    ),
    "a projection's W of rank 0": (
        ValueError,
        r"params\['W'\] must have shape \[P, 4·H\]",
        lambda: jbptt.unroll(jbptt.lstm_projected, PROJECTED | {"W": zeros()}, XS),
    ),
    "params without a gain": (
        ValueError,
        r"params must have the keys .*'gW'",
        lambda: unroll(cell=jbptt.lstm_layer_norm),
    ),
    "a clockwork's clock of floats": (
        TypeError,
        r"state.t must be int32",
        lambda: jbptt.unroll(
            CLOCKED,
            CLOCKED.init(KEY, I, H),
            XS,
            jbptt.ClockworkState(zeros(B, H), zeros(B)),
        ),
    ),
}
NETWORKS = {
    "length 0": (ValueError, r"length must be at least 1, got 0", lambda: jbptt.siso(rnn, NET, X, 0)),
    "length 2.0": (TypeError, r"length must be an int", lambda: jbptt.simo(rnn, NET, X, 2.0)),
    "length True": (TypeError, r"length must be an int.*bool", lambda: jbptt.simo(rnn, NET, X, True)),
    "no length": (TypeError, r"length must be an int", lambda: jbptt.simo(rnn, NET, X, None)),
    "length of an array": (TypeError, r"length must be an int", lambda: jbptt.simo(rnn, NET, X, np.array([3]))),
    "length of a JAX array": (TypeError, r"length must be an int", lambda: jbptt.simo(rnn, NET, X, jnp.asarray(3))),
    "a traced length": (
        TypeError,
        r"length must be an int, known before tracing",
        lambda: jax.jit(lambda length: jbptt.simo(rnn, NET, X, length))(3),
    ),
    "x of rank 0": (ValueError, r"x must have shape \[B, I\]", lambda: jbptt.siso(rnn, NET, zeros(), 2)),
    "integers for x": (TypeError, r"x must be floating point", lambda: jbptt.siso(rnn, NET, CLASSES, 2)),
    "xs of rank 1": (ValueError, r"xs must have shape", lambda: miso(zeros(I))),
    "a cell's params": (ValueError, r"params must have the keys \['V', 'cell'\]", lambda: jbptt.mimo(lstm, PARAMS, XS)),
    "V of another H": (ValueError, r"params\['V'\] .*H = 6, got \[5, 7\]", lambda: miso(V=zeros(5, O))),
    "V of rank 1": (ValueError, r"params\['V'\] must have shape \[H, O\]", lambda: miso(V=zeros(O))),
    "V of another dtype": (TypeError, r"params\['V'\] is float64", lambda: miso(V=jnp.zeros((H, O)))),
    "c of another size": (ValueError, r"params\['c'\] .*\[O\] = \[7\], got \[3\]", lambda: miso(c=zeros(3))),
    "None for c": (TypeError, r"params\['c'\] must be an array", lambda: miso(c=None)),
    "jnp.tanh": (TypeError, r"activation must be a jbptt.Activation", lambda: miso(activation=jnp.tanh)),
    "init with a name": (TypeError, r"cell must be", lambda: jbptt.network_init(KEY, "rnn", I, H, O)),
    "init with no outputs": (ValueError, r"output_size must be", lambda: jbptt.network_init(KEY, rnn, I, H, 0)),
}
LAYERS = {
    "dense: features": (ValueError, r"x must .*I = 4 as params\['w'\]", lambda: jbptt.dense(MLP[0], zeros(B, 5))),
    "dense: rank 0": (ValueError, r"x must have shape", lambda: jbptt.dense(MLP[0], zeros())),
    "dense: integers": (TypeError, r"x must be floating", lambda: jbptt.dense(MLP[0], CLASSES)),
    "dense: dtype": (TypeError, r"x is float64", lambda: jbptt.dense(MLP[0], X.astype(jnp.float64))),
    "dense: keys": (ValueError, r"params must .*\['c', 'w'\]", lambda: jbptt.dense({"w": MLP[0]["w"], "c": 1}, X)),
    "dense: list": (ValueError, r"params must be a dict", lambda: jbptt.dense(MLP, X)),
    "dense: w": (ValueError, r"params\['w'\] must have shape \[I, O\]", lambda: jbptt.dense({"w": zeros(I)}, X)),
    "dense: b": (ValueError, r"params\['b'\] must have", lambda: jbptt.dense(MLP[0] | {"b": zeros(O)}, X)),
    "dense: number": (TypeError, r"params\['b'\] must be an array", lambda: jbptt.dense(MLP[0] | {"b": 0.0}, X)),
    "mlp: chain": (ValueError, r"output of params\[0\] must .*params\[1\]", lambda: jbptt.mlp([MLP[0]] * 2, X)),
    "mlp: no layers": (ValueError, r"params must hold at least one layer", lambda: jbptt.mlp([], X)),
    "mlp: one layer": (TypeError, r"params must be a list, one dict a layer, got dict", lambda: jbptt.mlp(MLP[0], X)),
    "mlp: activation": (TypeError, r"activation must be", lambda: jbptt.mlp(MLP, X, activation=jnp.tanh)),
    "mlp: output": (TypeError, r"output_activation must be", lambda: jbptt.mlp(MLP, X, output_activation="tanh")),
    "mlp: vjp": (ValueError, r"vjp must be one of", lambda: jbptt.mlp(MLP, X, vjp="jax")),
    "mlp_init: one size": (ValueError, r"sizes must hold", lambda: jbptt.mlp_init(KEY, [I])),
    "mlp_init: an int": (TypeError, r"sizes must be a sequence", lambda: jbptt.mlp_init(KEY, I)),
    "mlp_init: 0": (ValueError, r"sizes must be at least 1", lambda: jbptt.mlp_init(KEY, [I, 0])),
    "mlp_init: dtype": (TypeError, r"dtype must be floating", lambda: jbptt.mlp_init(KEY, [I, O], dtype=int)),
    "init: float": (TypeError, r"hidden_size must be an int", lambda: lstm.init(KEY, I, 6.0)),
    "init: bool": (TypeError, r"input_size must be an int", lambda: gru.init(KEY, True, H)),
    "init: 0": (ValueError, r"hidden_size must be at least 1", lambda: rnn.init(KEY, I, 0)),
    "init: negative": (ValueError, r"input_size must be at least 1", lambda: rnn.init(KEY, -1, H)),
    "init: dtype": (TypeError, r"dtype must be floating point", lambda: lstm.init(KEY, I, H, jnp.int32)),
    "lstm_cell: forget bias": (ValueError, r"forget_bias", lambda: jbptt.lstm_cell(bias=False, forget_bias=2.0)),
    "rnn_cell: keeps": (ValueError, r"keeps", lambda: jbptt.rnn_cell(replace(jbptt.tanh, keeps="z"))),
    "rnn_cell: jnp.tanh": (TypeError, r"activation must be a jbptt.Activation", lambda: jbptt.rnn_cell(jnp.tanh)),
    "rnn_cell: jax.nn.relu": (TypeError, r"activation must be", lambda: jbptt.rnn_cell(jax.nn.relu)),
}
LOSSES = {
    "targets' shape": (ValueError, r"targets must have shape that of y", lambda: jbptt.mse(Y, zeros(B, 1))),
    "targets' dtype": (TypeError, r"targets is float64", lambda: jbptt.mse(Y, Y.astype(jnp.float64))),
    "integer targets": (TypeError, r"targets must be floating", lambda: jbptt.mse(Y, Y.astype(int))),
    "integer outputs": (TypeError, r"y must be floating point", lambda: jbptt.mse(CLASSES, CLASSES)),
    "no targets": (TypeError, r"targets must be an array", lambda: jbptt.mse(Y, None)),
    "integer logits": (TypeError, r"logits must be", lambda: jbptt.binary_cross_entropy(CLASSES, CLASSES)),
    "bce's shape": (ValueError, r"targets .*that of logits", lambda: jbptt.binary_cross_entropy(Y, zeros(B))),
    "bool targets": (TypeError, r"targets must be floating", lambda: jbptt.binary_cross_entropy(Y, Y == 0)),
    "distributions at an output layer": (
        TypeError,
        r"targets must be class indices.*float32: distributions are for",
        lambda: output_loss(targets=Y),
    ),
    "class 7 of an output layer's 7": (ValueError, r"targets .*0..6.*got 7..7", lambda: output_loss(targets=CLASS_7)),
    "an output layer's x": (ValueError, r"x must have shape .*I = 6", lambda: output_loss(x=zeros(B, 5))),
    "an output layer's reduction": (ValueError, r"reduction must be", lambda: output_loss(reduction="max")),
    "an output layer's vjp": (ValueError, r"vjp must be one of", lambda: output_loss(vjp="both")),
    "a chunk of 0": (ValueError, r"chunk must be", lambda: output_loss(chunk=0)),
    "half a chunk": (TypeError, r"chunk must be", lambda: output_loss(chunk=0.5)),
    "indices for an output layer's x": (TypeError, r"x must be floating point", lambda: output_loss(x=CLASSES)),
    "scalar logits": (ValueError, r"logits must have shape", lambda: jbptt.softmax_cross_entropy(zeros(), CLASSES)),
    "classes' shape": (ValueError, r"targets .*= \[3\]", lambda: jbptt.softmax_cross_entropy(Y, zeros(2, dtype=int))),
    "soft shape": (ValueError, r"targets .*= \[3, 7\]", lambda: jbptt.softmax_cross_entropy(Y, zeros(B, 5))),
    "text": (TypeError, r"targets must be an array", lambda: jbptt.softmax_cross_entropy(Y, "abc")),
    "class 7 of 7": (ValueError, r"targets .*0..6.*got 7..7", lambda: jbptt.softmax_cross_entropy(Y, CLASS_7)),
    "class -1": (ValueError, r"targets must be classes", lambda: jbptt.softmax_cross_entropy(Y, CLASSES - 1)),
    "a constant class 7 inside jit": (
        ValueError,
        r"targets must be classes",
        lambda: jax.jit(lambda z: jbptt.softmax_cross_entropy(z, CLASS_7))(Y),
    ),
    "weights' shape": (ValueError, r"weights must broadcast to \[3, 7\]", lambda: jbptt.mse(Y, Y, zeros(B))),
    "weights' rank": (ValueError, r"weights must broadcast", lambda: jbptt.mse(Y, Y, zeros(1, B, O))),
    "a weight for every class": (
        ValueError,
        r"weights must broadcast to \[3\]",
        lambda: jbptt.softmax_cross_entropy(Y, CLASSES, zeros(B, O)),
    ),
    "integer weights": (TypeError, r"weights must be floating", lambda: jbptt.mse(Y, Y, zeros(B, O, dtype=int))),
    "weights' dtype": (TypeError, r"weights is float64", lambda: jbptt.mse(Y, Y, jnp.ones((B, O)))),
    "text for weights": (TypeError, r"weights must be an array", lambda: jbptt.mse(Y, Y, "mask")),
    "reduction": (ValueError, r"reduction must be .*got 'none'", lambda: jbptt.mse(Y, Y, reduction="none")),
    "vjp": (ValueError, r"vjp must be one of", lambda: jbptt.mse(Y, Y, vjp="hand")),
}
TABLE = {
    f"{table}: {name}": case
    for table, cases in {
        "unroll": UNROLL,
        "makers": MAKERS,
        "networks": NETWORKS,
        "layers": LAYERS,
        "losses": LOSSES,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "default"])
@pytest.mark.parametrize("case", TABLE)
def test_bad_input(case, strict):
    """Under JAX's default promotion too, where a mixed dtype would otherwise pass in silence."""
    expected, message, call = TABLE[case]
    promotion = ("strict", "raise") if strict else ("standard", "allow")
    with (
        jax.numpy_dtype_promotion(promotion[0]),
        jax.numpy_rank_promotion(promotion[1]),
        pytest.raises(expected, match=message) as error,
    ):
        call()
    assert error.type is expected  # and no subclass of JAX's own


def test_good_input_of_other_kinds():
    """What might have been refused, but is not: NumPy arrays and integers, a Python list of inputs."""
    params = {name: np.asarray(leaf) for name, leaf in PARAMS.items()}
    state, hs = jbptt.unroll(lstm, params, np.asarray(XS), lstm.initial_state(PARAMS, (B,)))
    assert (state.c.shape, hs.shape) == ((B, H), (T, B, H))
    assert jbptt.simo(rnn, NET, X, np.int64(T))[1].shape == (T, B, O)
    assert jbptt.softmax_cross_entropy(Y, [0, 1, 2]).shape == ()


TOO_LARGE = np.array([2**32 + 1, 2**32 + 1])
MODEL = jbptt.Seq2Seq((jbptt.gru,), (jbptt.gru,))


@pytest.mark.parametrize(
    ("name", "call"),
    {
        "lengths": lambda: jbptt.unroll(jbptt.rnn, jbptt.rnn.init(KEY, 3, 4), np.ones((5, 2, 3)), lengths=TOO_LARGE),
        "targets": lambda: jbptt.softmax_cross_entropy(np.zeros((2, 5)), TOO_LARGE),
        "source": lambda: jbptt.seq2seq(
            MODEL, jbptt.seq2seq_init(KEY, MODEL, 7, 5, 8), TOO_LARGE[None], np.ones((1, 2), int)
        ),
    }.items(),
)
def test_integers_are_looked_at_before_jax_narrows_them(name, call):
    """Of 2³² + 1 it would leave 1."""
    with jax.enable_x64(False), pytest.raises(ValueError, match=f"{name} must be within int32, got {2**32 + 1}"):
        call()


def test_states_and_parameters_of_numpy_are_narrowed_as_inputs_are():
    with jax.enable_x64(False):
        params, xs = jbptt.gru.init(KEY, 3, 4), np.ones((5, 2, 3))
        state = jbptt.GRUState(np.full((2, 4), 0.5))
        given = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        options = {"resets": np.ones((5, 2), bool), "reset_state": state}
        got = jbptt.unroll(jbptt.gru, given, xs, state, **options)
        expected = jbptt.unroll(jbptt.gru, params, jnp.asarray(xs), *jax.tree.map(jnp.asarray, [state]), **options)
        jax.tree.map(np.testing.assert_array_equal, got, expected)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.float32)}
