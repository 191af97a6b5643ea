"""Cells become one another where they must, with their gradients; and what else each is known by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, SIZES, assert_close, assert_gradients_match, twins
from numpy_loops import gate

import jbptt
from jbptt import LSTM_VARIANTS
from jbptt.cells.pieces import blocks, join
from jbptt.cells.table import CELLS
from jbptt.comparison.rows import Draws

I, H = SIZES.I, SIZES.H
KEY = jax.random.key(0)


def full(blocks_of_heads):
    """W [heads, D, G·D] as [H, G·H]."""
    heads, D, GD = blocks_of_heads.shape
    W = jnp.zeros((heads, D, GD // D, heads, D))
    for head in range(heads):
        W = W.at[head, :, :, head].set(blocks_of_heads[head].reshape(D, GD // D, D))
    return W.reshape(heads * D, -1)


def mapped(params, change):
    """Every parameter with gate blocks, its list of blocks through `change`."""

    def of(key, leaf):
        return join(*change(key, blocks(leaf, leaf.shape[-1] // H))) if key in ("U", "W", "b", "p") else leaf

    return {key: of(key, leaf) for key, leaf in params.items()}


def with_forget_tied(params):
    """f = σ(−zi) = 1 − σ(zi): blocks i, g, o to i, −i, g, o; peepholes i, o to i, −i, o."""
    return mapped(params, lambda key, gates: [gates[0], -gates[0], *gates[1:]])


def with_an_open_gate(number, place):
    """A gate that is 1 put in: no weights and a bias that σ takes to 1 at block `number`, a peephole 0 at `place`."""

    def change(key, gates):
        blank, at = jnp.full_like(gates[0], 100.0 if key == "b" else 0), place if key == "p" else number
        return [*gates[:at], blank, *gates[at:]]

    return lambda params: mapped(params, change)


V = LSTM_VARIANTS["V"]
ZERO_P = {"p": jnp.zeros(3 * H)}
REDUCTIONS = {
    "V with zero peepholes is NP": (V, lambda p: p | ZERO_P, "lstm"),
    "FGR with zero gate matrices is V": (
        LSTM_VARIANTS["FGR"],
        lambda p: p | {"R": jnp.zeros((3 * H, 3 * H))},
        "lstm_v",
    ),
    "V with f tied to i is CIFG": (V, with_forget_tied, "lstm_cifg"),
    "coupled gates are V with f tied and zero peepholes": (V, lambda p: with_forget_tied(p) | ZERO_P, "lstm_coupled"),
    "V with an open input gate is NIG": (V, with_an_open_gate(0, 0), "lstm_nig"),
    "V with an open forget gate is NFG": (V, with_an_open_gate(1, 1), "lstm_nfg"),
    "V with an open output gate is NOG": (V, with_an_open_gate(3, 2), "lstm_nog"),
    "clockwork with all periods 1 is rnn": (jbptt.clockwork_cell((1, 1)), dict, "rnn"),
    "rnn with block-diagonal weights is rnn_heads": (jbptt.rnn, lambda p: p | {"W": full(p["W"])}, "rnn_heads"),
    "lstm with block-diagonal weights is lstm_heads": (jbptt.lstm, lambda p: p | {"W": full(p["W"])}, "lstm_heads"),
    "gru with block-diagonal weights is gru_heads": (jbptt.gru, lambda p: p | {"W": full(p["W"])}, "gru_heads"),
    "slstm of one head with block-diagonal weights is that of four": (
        jbptt.slstm_cell(heads=1),
        lambda p: p | {"W": full(p["W"])},
        "slstm",
    ),
    "rnn_relu with diagonal weights is indrnn": (
        jbptt.rnn_cell(jbptt.relu),
        lambda p: p | {"W": jnp.diag(p["W"])},
        "indrnn",
    ),
    "lstm with the identity for a projection is lstm": (
        jbptt.lstm_projected,
        lambda p: p | {"R": jnp.eye(H)},
        "lstm",
    ),
    "gru_reset_before with f for r and 1 − f for u is mgu": (
        jbptt.gru_reset_before,
        lambda p: mapped(p, lambda key, gates: [gates[0], -gates[0], gates[1]]),
        "mgu",
    ),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name):
    """Values, and the gradients of the smaller cell's parameters through its place in the larger one."""
    cell, embed, row = REDUCTIONS[name]
    manual, _, (params, xs, state) = twins(ROWS_BY_NAME[row])

    def larger(params, xs, state):
        start = cell.initial_state(embed(params), (SIZES.B,))
        start = start._replace(**{field: getattr(state, field) for field in state._fields})
        final, hs = jbptt.unroll(cell, embed(params), xs, start)
        return type(state)(*[getattr(final, field) for field in state._fields]), hs

    assert_gradients_match(larger, manual, (params, xs, state))


def test_gru_reset_before_is_gru_where_the_candidates_weights_are_diagonal():
    """A diagonal product and the reset are both entry by entry, so that their order does not matter."""
    manual, _, (params, xs, state) = twins(ROWS_BY_NAME["gru_reset_before"])

    def diagonal(params):
        Wr, Wu, Wn = blocks(params["W"], 3)
        return params | {"W": join(Wr, Wu, jnp.diag(jnp.diag(Wn)))}

    before, after = (
        lambda params, xs, state, cell=cell: jbptt.unroll(cell, diagonal(params), xs, state)
        for cell in (jbptt.gru_reset_before, jbptt.gru)
    )
    assert_gradients_match(before, after, (params, xs, state))
    plain = manual(params, xs, state)[1] - jbptt.unroll(jbptt.gru, params, xs, state)[1]
    assert jnp.abs(plain).max() > 1e-3, "with weights off the diagonal it does"


def test_a_depth_gated_lstm_of_one_layer_is_v():
    manual, _, args = twins(ROWS_BY_NAME["lstm_v"])
    none = {"U_above": jnp.zeros((0, H, 5 * H)), "b_above": jnp.zeros((0, 5 * H)), "p_above": jnp.zeros((0, 2 * H))}

    def one_layer(params, xs, state):
        params = params | {"W": params["W"][None], "p": params["p"][None]} | none
        start = jbptt.DepthGatedState(state.h, jnp.zeros((SIZES.B, 0)), state.c)
        final, hs = jbptt.unroll(jbptt.lstm_depth_gated_cell(1), params, xs, start)
        return jbptt.LSTMState(final.h, final.c), hs

    assert_gradients_match(one_layer, manual, args)


OTHER_OPTIONS = {
    "lstm, one peephole": jbptt.lstm_cell(peepholes="f", heads=2),
    "lstm, gates that see gates, no peepholes": jbptt.lstm_cell(gate_recurrence=True, bias=False),
    "slstm, exponential forget gate": jbptt.slstm_cell(exponential_forget=True, bias=False),
    "clockwork, fast and slow out of order": jbptt.clockwork_cell((3, 1), jbptt.sigmoid, bias=False),
    "indrnn of an activation that keeps z": jbptt.indrnn_cell(
        jbptt.Activation("sine", jnp.sin, jnp.cos, "input"), bias=False
    ),
    "depth-gated, one layer": jbptt.lstm_depth_gated_cell(1),
    "depth-gated, three layers without biases": jbptt.lstm_depth_gated_cell(3, bias=False),
    "projection to more than H": jbptt.lstm_projected_cell(H + 3, bias=False),
    "lstm_layer_norm without bias": jbptt.lstm_layer_norm_cell(bias=False),
    "mgu without bias": jbptt.mgu_cell(bias=False),
    "gru_reset_before without bias": jbptt.gru_reset_before_cell(bias=False),
}


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_options_that_no_row_has(name):
    cell = OTHER_OPTIONS[name]
    args = Draws(0, jnp.float64).of_cell(cell, SIZES)
    manual, auto = (lambda *args, vjp=vjp: jbptt.unroll(cell, *args, vjp=vjp) for vjp in ("manual", "auto"))
    assert_gradients_match(manual, auto, args)


def test_parameter_counts_are_those_of_the_odyssey():
    """M inputs, N units: V has 4NM + 4N² + 4N + 3N; a gate left out, or tied, takes a quarter and its peephole."""
    M, N = 5, 8
    gate, v = N * M + N * N + N, 4 * (N * M + N * N + N) + 3 * N
    counts = {name: sum(leaf.size for leaf in cell.init(KEY, M, N).values()) for name, cell in LSTM_VARIANTS.items()}
    without = v - gate - N
    assert counts == {
        "V": v,
        "NIG": without,
        "NFG": without,
        "NOG": without,
        "NIAF": v,
        "NOAF": v,
        "NP": v - 3 * N,
        "CIFG": without,
        "FGR": v + 9 * N * N,
    }


def test_clockwork_modules_rest_between_their_ticks():
    params, xs, _ = Draws(0, jnp.float64).of_cell(jbptt.clockwork, SIZES._replace(T=17))
    _, hs = jbptt.unroll(jbptt.clockwork, params, xs)
    for module, period in zip(blocks(hs, 4), (1, 2, 4, 8), strict=True):
        moves = np.any(module[1:] != module[:-1], axis=(1, 2))
        assert np.flatnonzero(moves).tolist() == [t - 1 for t in range(1, 17) if t % period == 0]


def test_clockwork_weights_from_faster_to_slower_units_are_never_used():
    params, xs, _ = Draws(0, jnp.float64).of_cell(jbptt.clockwork, SIZES)
    from_faster = jnp.kron(jnp.triu(jnp.ones((4, 4)), 1), jnp.ones((2, 2))) > 0  # four modules of two units
    changed = params | {"W": jnp.where(from_faster, 1e3, params["W"])}
    assert_close(*[jbptt.unroll(jbptt.clockwork, p, xs) for p in (changed, params)], tolerance=0)
    everywhere = params | {"W": params["W"] + 1e-3}
    assert jnp.any(jbptt.unroll(jbptt.clockwork, everywhere, xs)[1] != jbptt.unroll(jbptt.clockwork, params, xs)[1])


def test_slstm_does_not_depend_on_how_its_state_is_stabilised():
    """c and n times exp(k), m less k: the same state; h and every later h the same."""
    manual, _, (params, xs, state) = twins(ROWS_BY_NAME["slstm"])
    k = 1.5
    shifted = state._replace(c=state.c * np.exp(k), n=state.n * np.exp(k), m=state.m - k)
    assert_close(manual(params, xs, shifted)[1], manual(params, xs, state)[1])


@pytest.mark.parametrize("zi", [-50.0, -86.0, -90.0, -110.0])
def test_slstm_stores_its_first_input_however_small_its_gate(zi):
    """From nothing stored, c / n is g: the input gate cancels."""
    params = jax.tree.map(jnp.zeros_like, jbptt.slstm.init(KEY, I, H))
    params["b"] = jnp.concatenate([jnp.full(H, v, jnp.float32) for v in (zi, 5.0, 0.7, 0.3)])
    xs = jnp.ones((1, 2, I), jnp.float32)
    hs, vjp = jax.vjp(lambda params: jbptt.unroll(jbptt.slstm, params, xs)[1], params)
    np.testing.assert_allclose(hs, jax.nn.sigmoid(0.3) * jnp.tanh(0.7), rtol=1e-6)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in vjp(jnp.ones_like(hs))[0].values())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_slstm_is_finite_where_its_exponentials_are_not(size, dtype):
    params = jbptt.slstm.init(KEY, I, H, dtype)
    xs = jnp.full((3, 2, I), size, dtype)
    hs, vjp = jax.vjp(lambda params: jbptt.unroll(jbptt.slstm, params, xs)[1], params)
    assert jnp.all(jnp.isfinite(hs))
    (gradients,) = vjp(jnp.ones_like(hs))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in gradients.values())


def test_irnn_starts_from_the_identity():
    params = jbptt.irnn.init(KEY, 300, 200)
    assert np.array_equal(params["W"], np.eye(200))
    assert not np.any(params["b"])
    np.testing.assert_allclose(np.std(params["U"]), 1e-3, rtol=0.02)  # 60,000 draws: 0.3% is one deviation


@pytest.mark.parametrize("name", ["rnn_heads", "lstm_heads", "gru_heads", "slstm"])
def test_each_head_starts_orthogonal_gate_by_gate(name):
    params = jax.tree.map(np.asarray, CELLS[name].init(KEY, I, H))
    assert params["W"].shape[0] == 4
    for number in range(params["U"].shape[1] // H):
        _, W, _ = gate(params, number)
        np.testing.assert_allclose(W @ W.T, np.eye(H), atol=1e-5)  # float32


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_says_where_its_equations_are_from(name):
    assert any(character.isdigit() for character in CELLS[name].reference), "a year"
