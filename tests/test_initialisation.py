"""Random parameters: shapes, dtypes, and the distributions that practitioners expect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt.cells.table import CELLS

I, H, O = 30, 20, 10
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
every_cell = pytest.mark.parametrize("name", CELLS)
plain_cells = pytest.mark.parametrize("name", [name for name in CELLS if name.removesuffix("_nobias") in GATES])
KEY = jax.random.key(0)


def gates(name):
    return GATES[name.split("_")[0]]


@plain_cells
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
def test_shapes_and_dtypes(name, dtype):
    G, params = gates(name), CELLS[name].init(KEY, I, H, dtype)
    expected = {"U": (I, G * H), "W": (H, G * H)}
    if not name.endswith("nobias"):
        expected |= {"b": (G * H,)} | ({"bn": (H,)} if name == "gru" else {})
    assert {key: leaf.shape for key, leaf in params.items()} == expected
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(dtype)}


@every_cell
def test_float32_by_default(name):
    assert {leaf.dtype for leaf in CELLS[name].init(KEY, I, H).values()} == {jnp.dtype("float32")}


@plain_cells
def test_recurrent_weights_are_orthogonal_gate_by_gate(name):
    blocks = np.split(np.asarray(CELLS[name].init(KEY, I, H)["W"]), gates(name), axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-5)  # float32
    assert len({block.tobytes() for block in blocks}) == gates(name)


@plain_cells
def test_input_weights_are_glorot_uniform_gate_by_gate(name):
    """U(−√(6/(I+H)), √(6/(I+H))): a gate's own H in the bound, not G·H."""
    bound = np.sqrt(6 / (I + H))
    for block in np.split(np.asarray(CELLS[name].init(KEY, I, H)["U"]), gates(name), axis=1):
        assert np.abs(block).max() <= bound
        assert np.abs(block).max() > 0.98 * bound  # of 600 draws: misses by chance in 0.98^600, 5e-6
        np.testing.assert_allclose(block.std(), bound / np.sqrt(3), rtol=0.1)  # 600 draws: 2% is one deviation


@pytest.mark.parametrize(
    ("cell", "forget"), [(jbptt.lstm, 1.0), (jbptt.lstm_cell(forget_bias=2.5), 2.5)], ids=["1", "2.5"]
)
def test_lstm_forgets_little_at_first(cell, forget):
    i, f, g, o = np.split(np.asarray(cell.init(KEY, I, H)["b"]), 4)
    assert np.all(f == forget)
    assert not np.any(np.concatenate([i, g, o]))


FORGET_BLOCK = {"lstm": 1, "lstm_heads": 1, "lstm_v": 1, "lstm_nig": 0, "lstm_nog": 1, "lstm_niaf": 1, "lstm_noaf": 1}
FORGET_BLOCK |= {"lstm_fgr": 1, "lstm_depth_gated": 1, "lstm_projected": 1, "lstm_layer_norm": 1, "slstm": 1}
"""Which block of b starts at 1: that of a forget gate with weights of its own."""


@every_cell
def test_what_is_not_drawn_is_zero_but_for_forget_biases_and_gains(name):
    params = {key: np.asarray(leaf) for key, leaf in CELLS[name].init(KEY, I, H).items()}
    for key in params.keys() - {"U", "W", "U_above"} - ({"R"} if name == "lstm_projected" else set()):
        expected = np.ones_like(params[key]) if key in ("gU", "gW", "gc") else np.zeros_like(params[key])
        if key in ("b", "b_above") and name in FORGET_BLOCK:
            start = FORGET_BLOCK[name] * H
            expected[..., start : start + H] = 1
        np.testing.assert_array_equal(params[key], expected, key)


@every_cell
def test_input_weights_are_glorot_uniform_in_every_cell(name):
    """But irnn's, which are small. Each gate's own H in the bound."""
    U = np.asarray(CELLS[name].init(KEY, I, H)["U"])
    bound = np.sqrt(6 / (I + H))
    assert np.abs(U).max() <= (0.01 if name == "irnn" else bound)
    assert name == "irnn" or np.abs(U).max() > 0.98 * bound


def test_recurrent_weights_of_the_others():
    indrnn = np.asarray(jbptt.indrnn.init(KEY, I, 400)["W"])
    assert 0 <= indrnn.min() < 0.02 and 0.98 < indrnn.max() <= 1
    projected = jax.tree.map(np.asarray, jbptt.lstm_projected.init(KEY, I, H))
    for block in np.split(projected["W"], 4, axis=1):  # [P, H]: P rows, orthonormal
        np.testing.assert_allclose(block @ block.T, np.eye(H // 2), atol=1e-5)
    np.testing.assert_allclose(projected["R"].T @ projected["R"], np.eye(H // 2), atol=1e-5)
    for name, blocks in (("mgu", 2), ("gru_reset_before", 3), ("lstm_layer_norm", 4)):
        for block in np.split(np.asarray(CELLS[name].init(KEY, I, H)["W"]), blocks, axis=1):
            np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-5)
    for layer in np.asarray(jbptt.lstm_depth_gated.init(KEY, I, H)["W"]):
        for block in np.split(layer, 4, axis=1):
            np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_networks(bias):
    params = jbptt.network_init(KEY, jbptt.lstm, I, H, O, bias=bias, dtype=jnp.float64)
    assert set(params) == {"cell", "V"} | ({"c"} if bias else set())
    assert params["V"].shape == (H, O)
    assert np.abs(params["V"]).max() <= np.sqrt(6 / (H + O))
    assert not bias or (params["c"].shape == (O,) and not np.any(params["c"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}


@pytest.mark.parametrize("bias", [True, False])
def test_mlp(bias):
    params = jbptt.mlp_init(KEY, [I, H, H, O], bias=bias)
    assert [layer["w"].shape for layer in params] == [(I, H), (H, H), (H, O)]
    for layer in params:
        assert np.abs(layer["w"]).max() <= np.sqrt(6 / sum(layer["w"].shape))
        assert set(layer) == {"w"} | ({"b"} if bias else set())
        assert not np.any(layer.get("b", 0))


@every_cell
def test_keys_decide(name):
    init = CELLS[name].init
    one, same, other = (init(jax.random.key(seed), I, H) for seed in (1, 1, 2))
    assert all(np.array_equal(one[key], same[key]) for key in one)
    for key in ("U",) if name == "irnn" else ("U", "W"):
        drawn = one[key] != 0  # a clockwork's W has zeros
        assert np.mean(drawn) > 0.5
        assert not np.any((one[key] == other[key]) & drawn)


@every_cell
def test_initial_state_is_zero_and_fits(name):
    cell = CELLS[name]
    state = cell.initial_state(cell.init(KEY, I, H, jnp.bfloat16), (2, 3))
    assert {leaf.shape[:2] for leaf in state} == {(2, 3)}
    assert {leaf.dtype.name for leaf in state} - {"int32"} == {"bfloat16"}
    assert not any(np.any(leaf) for leaf in state)
