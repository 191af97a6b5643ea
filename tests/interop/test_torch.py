"""Parameters from and to PyTorch: its outputs in float64, ours bit by bit after a round trip, and what is refused."""

import jax
import numpy as np
import pytest
from comparing import XS, H, I, assert_outputs, assert_same_bits

import jbptt

torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install -e '.[test,oracle]'")

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


def assert_equal_outputs(module, layers, params):
    """hs, and every layer's last state, in both directions."""
    with torch.no_grad():
        hs, states = module(torch.tensor(XS))
    states = states if isinstance(states, tuple) else (states,)  # [layers times directions, B, H] each
    assert_outputs(layers, params, list(zip(*(field.numpy() for field in states), strict=True)), hs.numpy())


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
    params = jax.tree.map(lambda leaf: leaf.at[..., :2].set(-0.0), params)  # whose sum with 0 is 0
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


def test_a_file_of_theirs(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    module = module_of("gru", "bidirectional", torch.bfloat16)
    save_file(module.state_dict(), tmp_path / "gru.safetensors")
    ours = jbptt.interop.from_torch(tmp_path / "gru.safetensors")
    assert ours[0] == jbptt.interop.from_torch(module)[0]
    assert_same_bits(ours[1], jbptt.interop.from_torch(module)[1])


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"source must be a torch.nn.LSTM, .* got Linear"):
        jbptt.interop.from_torch(torch.nn.Linear(2, 3))
    init, to_torch = jbptt.stack_init, jbptt.interop.to_torch
    key = jax.random.key(0)
    for layers, sizes, message in (
        ([jbptt.lstm, jbptt.gru], 6, "one cell for all its layers"),
        ([jbptt.lstm, jbptt.lstm], [6, 4], r"one hidden_size \(and proj_size\) for all its layers"),
        ([jbptt.lstm, jbptt.Bidirectional(jbptt.lstm, jbptt.lstm)], 6, "one number of directions for all its layers"),
        ([jbptt.lstm_projected_cell(6)], 6, "proj_size must be below hidden_size, got 6 of 6"),
        ([jbptt.LSTM_VARIANTS["V"]], 6, r"layers\[0\] is lstm_cell\(peepholes='ifo'\), which PyTorch has not"),
    ):
        with pytest.raises(ValueError, match=message):
            to_torch(layers, init(key, layers, I, sizes))


def test_biases_of_some_layers_are_zeros_in_the_others():
    layers = [jbptt.gru, jbptt.gru_cell(bias=False)]
    params = jbptt.stack_init(jax.random.key(0), layers, I, H, "float64")
    assert_equal_outputs(jbptt.interop.to_torch(layers, params), layers, params)


def test_what_the_module_learns_later_does_not_change_ours():
    """Tensors and NumPy arrays share memory, and JAX would take it as it is where it is aligned."""
    module = torch.nn.GRU(64, 64, dtype=torch.float64)
    ours = jbptt.interop.from_torch(module)[1]
    before = [np.array(leaf) for leaf in jax.tree.leaves(ours)]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert_same_bits(jax.tree.leaves(ours), before)
