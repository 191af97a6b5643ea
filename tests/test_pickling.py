"""Cells, activations and models are pickled and copied, are equal after it, here and in another process, and have no
leaves where they are kept beside parameters."""

import copy
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt.cells.table import CELLS
from jbptt.feedforward.activations import Activation

MADE = {
    "bahdanau": jbptt.bahdanau_cell(jbptt.gru),
    "wired": jbptt.leaky_rnn_cell(signs=np.array([1, 1, -1, -1, 1, 1, 1, 1])),
    "luong": jbptt.luong_cell(jbptt.irnn, score="concat", attention_size=3),
}
ACTIVATIONS = [jbptt.sigmoid, jbptt.tanh, jbptt.relu, jbptt.identity]


def own_init(key, input_size, hidden_size, dtype=jnp.float32):
    return jbptt.lstm.init(key, input_size, hidden_size, dtype)


def own_pointwise(params, z, hW, state):
    return jbptt.RNNState(z + hW), ()


def own_pointwise_vjp(params, residuals, dstate):
    return jbptt.RNNState(None), dstate.h


def square(z):
    return z * z


def square_prime(z):
    return 2 * z


OWN = jbptt.gated_cell(
    "own",
    gates=1,
    state_type=jbptt.RNNState,
    init=jbptt.gated_init(1, bias=True),
    pointwise=own_pointwise,
    pointwise_vjp=own_pointwise_vjp,
)._replace(init=own_init)
SQUARE = Activation("square", square, square_prime, keeps="input")
REPLACED = {
    "another init": jbptt.lstm._replace(init=own_init),
    "another name": jbptt.lstm_cell(forget_bias=3.0)._replace(name="mine"),
    "made by the user": OWN,
    "of the user's activation": jbptt.rnn_cell(SQUARE),
}
EVERY = CELLS | MADE | REPLACED
MODEL = jbptt.Seq2Seq((jbptt.Bidirectional(jbptt.gru, jbptt.gru),), (MADE["bahdanau"],))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy])
def test_cells(name, again):
    cell = EVERY[name]
    assert again(cell) == cell
    assert hash(again(cell)) == hash(cell)


@pytest.mark.parametrize("kept", [*ACTIVATIONS, SQUARE, MODEL, *MODEL.encoder], ids=lambda kept: type(kept).__name__)
def test_activations_and_models(kept):
    for again in (pickle.loads(pickle.dumps(kept)), copy.deepcopy(kept)):
        assert again == kept
        assert type(again) is type(kept)


def test_an_equal_cell_in_another_process(tmp_path):
    """Which has made none of them yet: what is equal here is equal there, and `init` draws the same."""
    kept = EVERY | {"forgets": jbptt.lstm_cell(bias=False)}
    drawn = {name: cell.init(jax.random.key(3), 4, 8) for name, cell in kept.items()}
    (tmp_path / "cells").write_bytes(pickle.dumps((kept, MODEL, jax.tree.map(jax.device_get, drawn))))
    code = """
import pickle, sys
import jax, numpy as np
sys.path.insert(0, sys.argv[2])  # where the user's own functions are
cells, model, drawn = pickle.load(open(sys.argv[1], "rb"))
from jbptt.cells.table import CELLS
import jbptt
for name, cell in cells.items():
    assert cell == CELLS.get(name, cell), name
    jax.tree.map(np.testing.assert_array_equal, cell.init(jax.random.key(3), 4, 8), drawn[name])
assert cells["luong"] == jbptt.luong_cell(jbptt.irnn, score="concat", attention_size=3)
assert model.decoder == (cells["bahdanau"],)
import test_pickling
assert {name: cells[name] for name in test_pickling.REPLACED} == test_pickling.REPLACED
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cells"), os.path.dirname(__file__)], check=True)


def test_no_leaves_beside_parameters():
    params = jbptt.lstm.init(jax.random.key(0), 3, 4)
    kept = {"cell": jbptt.lstm, "params": params, "f": jbptt.tanh, "model": MODEL}
    assert len(jax.tree.leaves(kept)) == len(params)

    @jax.jit
    def loss(kept, xs):
        _, hs = jbptt.unroll(kept["cell"], kept["params"], xs)
        return jnp.sum(kept["f"](hs))

    xs = jnp.ones((5, 2, 3), jnp.float32)
    grads = jax.grad(loss)(kept, xs)
    assert grads["cell"] == jbptt.lstm
    expected = jax.grad(lambda params: loss(kept | {"params": params}, xs))(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, grads["params"], expected))
    assert loss(kept, xs) != loss(kept | {"f": jbptt.identity}, xs)
