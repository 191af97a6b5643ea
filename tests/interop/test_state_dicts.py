"""State dicts of PyTorch's without PyTorch: NumPy arrays, and files of them; and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import assert_same_bits

import jbptt

I, H = 3, 2


def state_dict(gates=4, layers=1, suffixes=("",), biased=True, dtype="float32"):
    rng, made = np.random.default_rng(0), {}
    for layer in range(layers):
        inputs = H * len(suffixes) if layer else I
        for suffix in suffixes:
            shapes = {"weight_ih": (gates * H, inputs), "weight_hh": (gates * H, H)}
            shapes |= {"bias_ih": (gates * H,), "bias_hh": (gates * H,)} if biased else {}
            made |= {f"{k}_l{layer}{suffix}": rng.standard_normal(s).astype(dtype) for k, s in shapes.items()}
    return made


def test_what_the_gates_tell():
    from_torch = jbptt.interop.from_torch
    assert from_torch(state_dict(4))[0] == [jbptt.lstm]
    assert from_torch(state_dict(3, 2))[0] == [jbptt.gru, jbptt.gru]
    assert from_torch(state_dict(1))[0] == [jbptt.rnn]
    assert from_torch(state_dict(1), nonlinearity="relu")[0] == [jbptt.rnn_cell(jbptt.relu)]
    both = jbptt.Bidirectional(*[jbptt.gru_cell(bias=False)] * 2)
    assert from_torch(state_dict(3, 2, ("", "_reverse"), biased=False))[0] == [both, both]


def test_where_each_weight_goes():
    theirs = state_dict(3)
    (params,) = jbptt.interop.from_torch(theirs)[1]
    b_ih, b_hh = theirs["bias_ih_l0"], theirs["bias_hh_l0"]
    ours = {"U": theirs["weight_ih_l0"].T, "W": theirs["weight_hh_l0"].T, "bn": b_hh[-H:]}
    assert_same_bits(params, ours | {"b": np.concatenate([b_ih[:-H] + b_hh[:-H], b_ih[-H:]])})


def test_a_prefix_and_a_file(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    theirs = state_dict(4, 2)
    model = {f"encoder.{name}": array for name, array in theirs.items()} | {
        f"head.{dtype}": np.ones((2, 2), dtype) for dtype in ("int8", "uint16", "uint32", "uint64")
    }
    save_file({name: np.ascontiguousarray(array) for name, array in model.items()}, tmp_path / "model.safetensors")
    from_file = jbptt.interop.from_torch(tmp_path / "model.safetensors", prefix="encoder.")
    assert from_file[0] == [jbptt.lstm, jbptt.lstm]
    assert_same_bits(from_file[1], jbptt.interop.from_torch(theirs)[1])
    with pytest.raises(ValueError, match=r"not a recurrent layer's: .*; prefix may be one of \['encoder.'\]"):
        jbptt.interop.from_torch(str(tmp_path / "model.safetensors"))


def test_a_cell_of_one_step():
    theirs = {name.removesuffix("_l0"): array for name, array in state_dict(4).items()}
    assert_same_bits(jbptt.interop.from_torch(theirs)[1], jbptt.interop.from_torch(state_dict(4))[1])


def without(names, **others):
    return {name: array for name, array in state_dict(**others).items() if name not in names}


REFUSED = {
    "none": ({}, "layers 0, 1, ..., each forward"),
    "one bias": (without(["bias_hh_l0"]), "with both biases or without, got .'bias_ih', 'weight_hh', 'weight_ih'."),
    "no weight": (without(["weight_hh_l0"]), "must be .'weight_hh', 'weight_ih'., with both biases or without"),
    "no layer 0": ({n.replace("l0", "l1"): a for n, a in state_dict().items()}, "layers 0, 1, ..., each forward"),
    "backward alone": (state_dict(suffixes=("_reverse",)), "each forward and maybe in reverse"),
    "two gates": (state_dict(2), r"an LSTM, a GRU or an RNN \(4, 3 or 1 gates\)"),
    "proj of a GRU": (state_dict(3) | {"weight_hr_l0": np.ones((1, H), "float32")}, "4, 3 or 1 gates"),
    "axes": (state_dict() | {"weight_hh_l0": np.ones(3, "float32")}, r"weight_hh must have 2 axes, got \(3,\)"),
    "bias shapes": (state_dict() | {"bias_hh_l0": np.ones(3, "float32")}, "must be of one shape"),
    "bias size": (
        state_dict() | {name: np.ones(3, "float32") for name in ("bias_ih_l0", "bias_hh_l0")},
        r"PyTorch's forward weights: params\['b'\] must have shape",
    ),
    "float16": (state_dict(dtype="float16"), "U must be float32, float64 or bfloat16, got float16"),
    "mixed dtypes": (state_dict() | {"weight_hh_l0": np.ones((4 * H, H))}, "float64"),
    "inputs of a layer": (
        state_dict(layers=2) | {"weight_ih_l1": np.ones((4 * H, 7), "float32")},
        "layer 1 has 7 inputs, and the one below it gives 2 features",
    ),
    "another name": (state_dict() | {"weight_g": np.ones(3)}, "not a recurrent layer's: weight_g"),
    "a layer and a cell": (
        state_dict() | {"weight_hh": state_dict()["weight_hh_l0"]},
        "two of one layer's weight_hh, weight_hh is the second",
    ),
    "a layer of two numbers": (state_dict() | {"bias_hh_l00": np.ones(4 * H, "float32")}, "two of one layer's bias_hh"),
    "directions of some layers": (
        state_dict(suffixes=("", "_reverse"))
        | {name.replace("l0", "l1"): array for name, array in state_dict().items()},
        "one number of directions for all its layers",
    ),
    "another type": ([1], "source must be a torch.nn.LSTM, .* got list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    source, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        jbptt.interop.from_torch(source)


def test_nonlinearities():
    with pytest.raises(ValueError, match="nonlinearity must be 'tanh' or 'relu', got 'gelu'"):
        jbptt.interop.from_torch(state_dict(1), nonlinearity="gelu")


def test_float64_is_not_cut():
    with jax.enable_x64(False), pytest.raises(TypeError, match="is float64, which JAX would cut to float32"):
        jbptt.interop.from_torch(state_dict(dtype="float64"))


@pytest.mark.parametrize("convert", ["to_torch", "to_flax", "to_equinox", "to_haiku", "to_keras"])
def test_what_is_not_ours_is_refused_before_their_library_is_needed(convert):
    convert = getattr(jbptt.interop, convert)
    params = jbptt.stack_init(jax.random.key(0), [jbptt.lstm], I, H)
    with pytest.raises(TypeError, match="layers must be a list"):
        convert(jbptt.lstm, params)
    with pytest.raises(ValueError, match="params must be a list, one for each of 1 layers"):
        convert([jbptt.lstm], params[0])
    with pytest.raises(ValueError, match=r"params\[0\]: params must have the keys"):
        convert([jbptt.lstm], [{"U": jnp.ones((3, 8))}])
    with pytest.raises(ValueError, match="layer 1 has 3 inputs, and the one below it gives 2 features"):
        convert([jbptt.lstm, jbptt.lstm], [params[0], params[0]])
    with pytest.raises(ValueError, match=r"params\[0\] must be a pair"):
        convert([jbptt.Bidirectional(jbptt.lstm, jbptt.lstm)], params)
    with pytest.raises(ValueError, match=r"layers\[0\] is slstm, which .* has not"):
        convert([jbptt.slstm], jbptt.stack_init(jax.random.key(0), [jbptt.slstm], I, 4))
