"""Parameters from and to keras."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import FORMS, XS, H, I, assert_same_bits, random_params

import jbptt

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is first imported
keras = pytest.importorskip("keras", reason="the oracle is among the benchmarks' extras")

CELLS = {
    "lstm": jbptt.lstm,
    "lstm_nobias": jbptt.lstm_cell(bias=False),
    "gru": jbptt.gru,
    "gru_nobias": jbptt.gru_cell(bias=False),
    "gru_reset_before": jbptt.gru_reset_before,
    "rnn": jbptt.rnn,
    "rnn_nobias": jbptt.rnn_cell(bias=False),
    "rnn_relu": jbptt.rnn_cell(jbptt.relu),
    "rnn_sigmoid": jbptt.rnn_cell(jbptt.sigmoid),
}


@pytest.fixture(autouse=True)
def _as_keras_needs_it(monkeypatch):
    """It promotes dtypes and ranks; and, of itself, it takes float64 for float32 in most of its operations."""
    dtypes = pytest.importorskip("keras.src.backend.common.dtypes")
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def arrays_of(layer):
    return [np.array(variable.value) for variable in layer.weights]


def hs_of(layers):
    xs = np.moveaxis(XS, 0, 1)  # batch-major
    for layer in layers:
        xs = layer(xs)
    return np.moveaxis(np.asarray(xs), 0, 1)


def assert_hs(layers, params, theirs):
    np.testing.assert_allclose(jbptt.stack(layers, params, jnp.asarray(XS))[1], hs_of(theirs), rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_the_way_back(name, form):
    layers = FORMS[form](CELLS[name])
    params = random_params(layers)
    theirs = jbptt.interop.to_keras(layers, params)
    assert_hs(layers, params, theirs)
    back_layers, back = jbptt.interop.from_keras(theirs)
    assert back_layers == layers
    assert_same_bits(back, params)


MAKERS = {
    "LSTM": keras.layers.LSTM,
    "GRU": keras.layers.GRU,
    "GRU reset before": lambda *size, **options: keras.layers.GRU(*size, reset_after=False, **options),
    "SimpleRNN": keras.layers.SimpleRNN,
}


@pytest.mark.parametrize("name", MAKERS)
def test_their_own(name):
    """Both rows of a GRU's bias random: they come back as their sum."""
    options = {"dtype": "float64", "return_sequences": True, "bias_initializer": "random_normal"}
    layer = MAKERS[name](H, **options)
    layer.build((None, None, I))
    layers, params = jbptt.interop.from_keras(layer)
    assert_hs(layers, params, [layer])
    (back,) = jbptt.interop.to_keras(layers, params)
    weights, returned = arrays_of(layer), arrays_of(back)
    if name == "GRU":
        first, second = weights[2]
        first[: 2 * H] += second[: 2 * H]
        second[: 2 * H] = 0
    assert_same_bits(returned, weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_stays(dtype):
    params = random_params([jbptt.gru], dtype)
    theirs = jbptt.interop.to_keras([jbptt.gru], params)
    assert [array.dtype for array in arrays_of(theirs[0])] == [dtype] * 3
    assert_same_bits(jbptt.interop.from_keras(theirs)[1], params)


def test_what_is_refused():
    refused = {
        "must be built": keras.layers.LSTM(H),
        "recurrent_activation sigmoid, got tanh and hard_sigmoid": built(
            keras.layers.GRU(H, recurrent_activation="hard_sigmoid")
        ),
        "activation must be tanh, relu or sigmoid, got elu": built(keras.layers.SimpleRNN(H, activation="elu")),
        "go_backwards must be False": built(keras.layers.LSTM(H, go_backwards=True)),
        "merge_mode must be 'concat', got 'sum'": built(
            keras.layers.Bidirectional(keras.layers.LSTM(H), merge_mode="sum")
        ),
        "SimpleRNN or Bidirectional of them, got Dense": built(keras.layers.Dense(H)),
    }
    for message, layer in refused.items():
        with pytest.raises((TypeError, ValueError), match=message):
            jbptt.interop.from_keras(layer)
    with pytest.raises(ValueError, match="at least one layer"):
        jbptt.interop.from_keras([])
    with pytest.raises(ValueError, match="lstm_projected, which keras has not"):
        jbptt.interop.to_keras([jbptt.lstm_projected], random_params([jbptt.lstm_projected]))
    two = [jbptt.Bidirectional(jbptt.lstm, jbptt.gru)]
    with pytest.raises(ValueError, match="one kind, size and bias for both directions"):
        jbptt.interop.to_keras(two, random_params(two))


def built(layer):
    layer.build((None, None, I))
    return layer
