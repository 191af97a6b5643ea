"""Parameters from and to equinox."""

import jax
import jax.numpy as jnp
import pytest
from comparing import FORMS, B, H, assert_outputs, assert_same_bits, random_params, run_layers

import jbptt

equinox = pytest.importorskip("equinox", reason="the oracle is among the benchmarks' extras")

CELLS = {
    "lstm": jbptt.lstm,
    "lstm_nobias": jbptt.lstm_cell(bias=False),
    "gru": jbptt.gru,
    "gru_nobias": jbptt.gru_cell(bias=False),
}


def run(cell, xs):
    zeros = jnp.zeros((B, H), xs.dtype)

    def step(state, x):
        state = jax.vmap(cell)(x, state)
        return state, state[0] if isinstance(state, tuple) else state

    state, hs = jax.lax.scan(step, (zeros, zeros) if isinstance(cell, equinox.nn.LSTMCell) else zeros, xs)
    return state if isinstance(state, tuple) else (state,), hs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_the_way_back(name, form):
    layers = FORMS[form](CELLS[name])
    params = random_params(layers)
    theirs = jbptt.interop.to_equinox(layers, params)
    assert_outputs(layers, params, *run_layers(theirs, run))
    back_layers, back = jbptt.interop.from_equinox(theirs)
    assert back_layers == layers
    assert_same_bits(back, params)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_stays(dtype):
    params = random_params([jbptt.gru], dtype)
    theirs = jbptt.interop.to_equinox([jbptt.gru], params)
    assert theirs[0].bias_n.dtype == dtype
    assert_same_bits(jbptt.interop.from_equinox(theirs)[1], params)


def test_their_own_cells():
    cell = equinox.nn.GRUCell(5, H, dtype=jnp.float64, key=jax.random.key(0))
    layers, params = jbptt.interop.from_equinox(cell)
    assert layers == [jbptt.gru]
    assert_outputs(layers, params, *run_layers([cell], run))
    assert_same_bits(jbptt.interop.to_equinox(layers, params), [cell])


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"layers\[0\] is rnn, which equinox has not: it has lstm, gru"):
        jbptt.interop.to_equinox([jbptt.rnn], random_params([jbptt.rnn]))
    with pytest.raises(TypeError, match=r"LSTMCells and GRUCells, got Linear"):
        jbptt.interop.from_equinox(equinox.nn.Linear(2, 3, key=jax.random.key(0)))
