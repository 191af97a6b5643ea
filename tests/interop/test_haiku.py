"""Parameters from and to haiku."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import FORMS, XS, B, H, assert_outputs, assert_same_bits, random_params

import jbptt

hk = pytest.importorskip("haiku", reason="the oracle is among the benchmarks' extras")

CELLS = {
    "lstm": (jbptt.lstm, hk.LSTM),
    "gru_reset_before": (jbptt.gru_reset_before, hk.GRU),
    "rnn_relu": (jbptt.rnn_cell(jbptt.relu), hk.VanillaRNN),
}


def network(core, form):
    """Their modules, run over xs as `FORMS` has them."""

    def unroll(core, xs):
        start = jax.tree.map(lambda zeros: zeros.astype(xs.dtype), core.initial_state(B))
        hs, state = hk.dynamic_unroll(core, xs, start)
        return tuple(state) if isinstance(state, tuple) else (state,), hs

    def layers(xs):
        states = []
        for directions in {"one": (1,), "three": (1, 1, 1), "bidirectional": (2, 1)}[form]:
            made = [unroll(core(H), xs[:: -1 if n else 1]) for n in range(directions)]
            states += [state for state, _ in made]
            xs = jnp.concatenate([hs[:: -1 if n else 1] for n, (_, hs) in enumerate(made)], axis=-1)
        return states, xs

    return hk.without_apply_rng(hk.transform(layers))


FIRST = {"lstm": "lstm", "gru_reset_before": "gru", "rnn_relu": "vanilla_rnn"}


def names_of(form, name):
    """Haiku's own, which do not tell what is a pair."""
    first = FIRST[name]
    return [(first, f"{first}_1"), f"{first}_2"] if form == "bidirectional" else None


def with_forget_bias(params):
    """The forget gates' biases 1 and more, as nothing is rounded there."""
    b = params["b"].at[H : 2 * H].set(1 + jnp.abs(params["b"][H : 2 * H]))
    return params | {"b": b}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_the_way_back(name, form):
    cell, core = CELLS[name]
    layers = FORMS[form](cell)
    params = random_params(layers)
    if name == "lstm":
        params = jax.tree.map(with_forget_bias, params, is_leaf=lambda node: isinstance(node, dict))
    theirs = jbptt.interop.to_haiku(layers, params)
    assert_outputs(layers, params, *network(core, form).apply(theirs, jnp.asarray(XS)))
    back_layers, back = jbptt.interop.from_haiku(theirs, names_of(form, name))
    assert back_layers == layers
    assert_same_bits(back, params)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_their_own(name, form):
    made = network(CELLS[name][1], form)
    theirs = made.init(jax.random.key(0), jnp.asarray(XS))
    layers, params = jbptt.interop.from_haiku(theirs, names_of(form, name))
    assert_outputs(layers, params, *made.apply(theirs, jnp.asarray(XS)))
    assert_same_bits(jbptt.interop.to_haiku(layers, params), theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_one_of_the_forget_gate(dtype):
    """From 0.5 on, where the difference needs no rounding, it comes back bit by bit; below within the last bit of 1."""
    b = np.linspace(-2, 2, 4 * H)
    b[H : 2 * H] = [0.5, 0.7, 1, 1.5, 2.1, 40.0]
    params = [random_params([jbptt.lstm], dtype)[0] | {"b": jnp.asarray(b, dtype)}]
    theirs = jbptt.interop.to_haiku([jbptt.lstm], params)
    moved = params[0]["b"][H : 2 * H] - jnp.ones(H, dtype)
    np.testing.assert_array_equal(theirs["lstm/linear"]["b"][2 * H : 3 * H], moved)
    assert_same_bits(jbptt.interop.from_haiku(theirs)[1], params)
    params[0]["b"] = params[0]["b"].at[H].set(0.1)
    back = jbptt.interop.from_haiku(jbptt.interop.to_haiku([jbptt.lstm], params))[1][0]["b"]
    assert 0 < abs(back[H] - params[0]["b"][H]) <= jnp.finfo(dtype).eps / 2


def test_twelve_layers_are_in_the_order_of_their_numbers():
    layers = [jbptt.gru_reset_before] * 12
    params = [one | {"b": one["b"] + n} for n, one in enumerate(random_params(layers))]
    theirs = jax.tree.map(lambda array: array, jbptt.interop.to_haiku(layers, params))
    assert list(theirs)[:3] == ["gru", "gru_1", "gru_10"]
    assert_same_bits(jbptt.interop.from_haiku(theirs)[1], params)


def test_what_is_refused():
    theirs = jbptt.interop.to_haiku([jbptt.lstm], random_params([jbptt.lstm]))
    with pytest.raises(ValueError, match="names must say which core is above which: params have embed, lstm"):
        jbptt.interop.from_haiku({"embed": {"embeddings": np.zeros((2, 3))}} | theirs)
    with pytest.raises(ValueError, match=r"haiku's gru must be .* parameters, got none"):
        jbptt.interop.from_haiku(theirs, ["gru"])
    with pytest.raises(ValueError, match=r"haiku's lstm must be an LSTM's linear, w \[I \+ H, 4·H\]"):
        jbptt.interop.from_haiku({"lstm/linear": {"w": np.zeros((3, 12)), "b": np.zeros(12)}})
    with pytest.raises(TypeError, match="mapping of mappings"):
        jbptt.interop.from_haiku([theirs])
    with pytest.raises(ValueError, match=r"layers\[0\] is gru, which haiku has not: it has lstm, gru_reset_before"):
        jbptt.interop.to_haiku([jbptt.gru], random_params([jbptt.gru]))
    with pytest.raises(ValueError, match="names must be 1 different ones"):
        jbptt.interop.to_haiku([jbptt.lstm], random_params([jbptt.lstm]), ["a", "b"])
    two = [jbptt.lstm, jbptt.gru_reset_before]
    with pytest.raises(ValueError, match="names must be 2 different ones"):
        jbptt.interop.to_haiku(two, random_params(two), ["a", "b", "b"])
    with pytest.raises(ValueError, match="names must not make two modules a/linear"):
        jbptt.interop.to_haiku(two, random_params(two), ["a", "a/linear"])
