"""Parameters from and to PyTorch: its outputs in float64, ours bit by bit after a round trip, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt

torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install -e '.[test,oracle]'")

T, B, I, H = 7, 3, 5, 6
KINDS = {
    "lstm": (torch.nn.LSTM, {}),
    "lstm_projected": (torch.nn.LSTM, {"proj_size": 4}),
    "gru": (torch.nn.GRU, {}),
    "rnn": (torch.nn.RNN, {}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
}
FORMS = {
    "one": {},
    "three": {"num_layers": 3},
    "bidirectional": {"num_layers": 2, "bidirectional": True},
    "nobias": {"num_layers": 2, "bias": False},
}

every_form = pytest.mark.parametrize("form", FORMS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def module_of(kind, form, dtype=torch.float64):
    torch.manual_seed(0)
    maker, options = KINDS[kind]
    return maker(I, H, dtype=dtype, **options, **FORMS[form])


def assert_same_bits(ours, others):
    assert jax.tree.structure(ours) == jax.tree.structure(others)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(others), strict=True):
        assert (one.dtype, one.shape, np.asarray(one).tobytes()) == (
            other.dtype,
            other.shape,
            np.asarray(other).tobytes(),
        )


def assert_equal_outputs(module, layers, params):
    """hs, and every layer's last state, in both directions."""
    xs = np.random.default_rng(0).standard_normal((T, B, I))
    with torch.no_grad():
        their_hs, their_states = module(torch.tensor(xs))
    states, hs = jbptt.stack(layers, params, jnp.asarray(xs))
    np.testing.assert_allclose(hs, their_hs.numpy(), rtol=0, atol=1e-14)
    ours = [state for state, layer in zip(states, layers, strict=True) for state in directions(layer, state)]
    for number, field in enumerate(their_states if isinstance(their_states, tuple) else (their_states,)):
        np.testing.assert_allclose(np.stack([state[number] for state in ours]), field.numpy(), rtol=0, atol=1e-14)


def directions(layer, state):
    return state if isinstance(layer, jbptt.Bidirectional) else (state,)


@every_form
@every_kind
def test_outputs_equal_in_float64_from_and_to(kind, form):
    module = module_of(kind, form)
    layers, params = jbptt.interop.from_torch(module)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float64")}
    assert_equal_outputs(module, layers, params)
    assert_equal_outputs(jbptt.interop.to_torch(layers, params), layers, params)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@every_form
@every_kind
def test_ours_come_back_bit_by_bit(kind, form, dtype):
    layers, params = jbptt.interop.from_torch(module_of(kind, form, getattr(torch, dtype)))
    back_layers, back = jbptt.interop.from_torch(jbptt.interop.to_torch(layers, params))
    assert [layer == other for layer, other in zip(layers, back_layers, strict=True)] == [True] * len(layers)
    assert_same_bits(params, back)


@every_kind
def test_theirs_come_back_with_the_sum_of_their_biases(kind):
    module = module_of(kind, "bidirectional", torch.float32)
    back = jbptt.interop.to_torch(*jbptt.interop.from_torch(module)).state_dict()
    for name, theirs in module.state_dict().items():
        if name.startswith("weight"):
            assert torch.equal(back[name], theirs), name
        elif name.startswith("bias_ih"):
            other = name.replace("_ih_", "_hh_")
            separate = H if kind == "gru" else 0
            summed = theirs + module.state_dict()[other]
            assert torch.equal(back[name][: len(theirs) - separate], summed[: len(theirs) - separate])
            assert not back[other][: len(theirs) - separate].any()
            if separate:
                assert torch.equal(back[name][-separate:], theirs[-separate:])
                assert torch.equal(back[other][-separate:], module.state_dict()[other][-separate:])
