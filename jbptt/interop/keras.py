"""keras 3's recurrent layers, on any of its backends: LSTM, GRU, SimpleRNN and Bidirectional.

    ours                    keras's
    U [I, G·H]              kernel
    W [H, G·H]              recurrent_kernel
    b [G·H]                 bias
    gru: b [3·H], bn [H]    bias [2, 3·H], one row added to x U and one to h W: of the second the candidate's block
                            stays apart, as bn, and the others are added to the first's
    gru_reset_before        GRU(reset_after=False)
    Bidirectional           Bidirectional(merge_mode="concat")

The LSTM's gates are in our order, i, f, g ("c" in keras), o; the GRU's are u ("z"), r, n, where ours are r, u, n. On
the way back the second row of a GRU's bias is 0 but for bn. (Keras computes a float64 layer's products in float32,
but on TensorFlow: its outputs are then equal to ours to that precision.)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru import gru_cell
from jbptt.cells.gru_reset_before import gru_reset_before_cell
from jbptt.cells.lstm import lstm_cell
from jbptt.feedforward.activations import relu, sigmoid, tanh
from jbptt.interop.network import (
    Converted,
    bias_of,
    exchanged,
    gru_biases,
    in_kinds,
    library,
    of_cell,
    of_layers,
    recurrent_gru_bias,
)
from jbptt.networks.layers import Layer

ACTIVATIONS = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}
KINDS = {
    "lstm": "LSTM",
    "gru": "GRU",
    "gru_reset_before": "GRU",
    "rnn": "SimpleRNN",
    "rnn_relu": "SimpleRNN",
    "rnn_sigmoid": "SimpleRNN",
}


def from_keras(layers: Any) -> Converted:
    """The layers and parameters of recurrent layers of keras's.

    - `layers`: a keras.layers.LSTM, GRU, SimpleRNN or Bidirectional of them, or a list of them, one above the other;
      built, as a layer is once it has seen its input's shape.

    Returns (layers, params), as `jbptt.stack` takes them; the dtype stays. Keras takes xs [B, T, I], ours [T, B, I].
    Its dropout is an option of `stack`. Raises ValueError for what ours have not: other activations, another merge
    mode, a layer that goes backwards outside a Bidirectional; TypeError for other layers and dtypes.
    """
    layers = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    return of_layers([_directions(layer) for layer in layers])


def to_keras(layers: Sequence[Layer], params: Sequence[Any]) -> list[Any]:
    """keras's layers of these, built, with their parameters and dtype; each returns its whole sequence.

    Raises ValueError for cells that keras has not (it has lstm, gru, gru_reset_before, and rnn with tanh, relu and
    sigmoid), and for a Bidirectional of two kinds or sizes, ImportError without keras.
    """
    return [_layer(layer) for layer in in_kinds(layers, params, "keras", KINDS)]


def _directions(layer):
    if type(layer).__name__ != "Bidirectional":
        if getattr(layer, "go_backwards", False):
            raise ValueError("go_backwards must be False: ours run in reverse only within a Bidirectional")
        return (_ours(layer),)
    if layer.merge_mode != "concat":
        raise ValueError(f"Bidirectional.merge_mode must be 'concat', got {layer.merge_mode!r}")
    if layer.forward_layer.go_backwards or not layer.backward_layer.go_backwards:
        raise ValueError("Bidirectional must be of a forward layer and of one with go_backwards")
    return _ours(layer.forward_layer), _ours(layer.backward_layer)


def _ours(layer):
    name = type(layer).__name__
    if name not in KINDS.values():
        raise TypeError(f"layers must be keras.layers.LSTM, GRU, SimpleRNN or Bidirectional of them, got {name}")
    if not layer.built:
        raise ValueError(f"{name} must be built: call it, or layer.build((None, None, I))")
    activation = getattr(layer.activation, "__name__", None)
    if name != "SimpleRNN" and (activation, layer.recurrent_activation.__name__) != ("tanh", "sigmoid"):
        raise ValueError(
            f"{name} must have the activation tanh and the recurrent_activation sigmoid, "
            f"got {activation} and {layer.recurrent_activation.__name__}"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"{name}.activation must be tanh, relu or sigmoid, got {activation}")
    U, W, *bias = (library("keras").ops.convert_to_numpy(variable.value) for variable in layer.weights)
    arrays = {"U": U, "W": W}
    if name == "GRU":
        arrays = {key: exchanged(array, 1, 0, 2) for key, array in arrays.items()}
        bias = [exchanged(one, 1, 0, 2) for one in bias]
    if bias:
        arrays |= gru_biases(*bias[0]) if bias[0].ndim == 2 else {"b": bias[0]}
    makers = {
        "LSTM": lstm_cell,
        "GRU": gru_cell if getattr(layer, "reset_after", True) else gru_reset_before_cell,
        "SimpleRNN": lambda bias: rnn_cell(ACTIVATIONS[activation], bias=bias),
    }
    return of_cell(f"keras's {name}", makers[name](bias=bool(bias)), arrays)


def _layer(layer):
    keras = library("keras")
    made = [_theirs(keras, *one) for one in layer]
    if len(made) == 1:
        made[0].build((None, None, layer[0][1]["U"].shape[0]))
        made[0].set_weights(_weights(*layer[0]))
        return made[0]
    (kind, params), (other, others) = layer
    if (kind, params["U"].shape, set(params)) != (other, others["U"].shape, set(others)):
        raise ValueError("keras's Bidirectional has one kind, size and bias for both directions, and these differ")
    both = keras.layers.Bidirectional(made[0], dtype=params["U"].dtype.name)
    both.build((None, None, params["U"].shape[0]))
    both.forward_layer.set_weights(_weights(kind, params))
    both.backward_layer.set_weights(_weights(other, others))
    return both


def _theirs(keras, kind, params):
    options = {"return_sequences": True, "dtype": params["U"].dtype.name, "use_bias": "b" in params or "bn" in params}
    options["recurrent_initializer"] = "zeros"  # its own default cannot make bfloat16
    if KINDS[kind] == "GRU":
        options["reset_after"] = kind == "gru"
    if KINDS[kind] == "SimpleRNN":
        options["activation"] = {"rnn": "tanh", "rnn_relu": "relu", "rnn_sigmoid": "sigmoid"}[kind]
    return getattr(keras.layers, KINDS[kind])(params["W"].shape[0], **options)


def _weights(kind, params):
    weights = [params["U"], params["W"]]
    if "b" in params or "bn" in params:
        b = bias_of(params)
        weights.append(np.stack([b, recurrent_gru_bias(params)]) if kind == "gru" else b)
    return [exchanged(array, 1, 0, 2) for array in weights] if KINDS[kind] == "GRU" else weights
