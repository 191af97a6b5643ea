"""PyTorch's recurrent layers: torch.nn.LSTM, GRU and RNN.

    ours                PyTorch's
    U [I, G·H]          weight_ih_l0 [G·H, I], transposed
    W [H, G·H]          weight_hh_l0 [G·H, H], transposed; with proj_size [G·H, P]
    R [H, P]            weight_hr_l0 [P, H], transposed
    b [G·H]             bias_ih_l0 + bias_hh_l0, which only ever occur as their sum
    bn [H], gru's       bias_hh_l0's block n, which the reset multiplies: b's block n is bias_ih_l0's alone
    Bidirectional       the second one's names end in _reverse

The order of the gates is the same: i, f, g, o and r, u (PyTorch calls it z), n. On the way back bias_ih is b, and
bias_hh is 0, but for bn: what was split in two comes back as its sum, and ours comes back bit by bit.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru import gru_cell
from jbptt.cells.lstm import lstm_cell
from jbptt.cells.lstm_projected import lstm_projected_cell
from jbptt.cells.rule import Cell
from jbptt.feedforward.activations import relu, tanh
from jbptt.interop.network import (
    Arrays,
    Converted,
    alike,
    bias_of,
    gru_biases,
    in_kinds,
    library,
    of_cell,
    of_layers,
    one_bias,
    recurrent_gru_bias,
)
from jbptt.interop.safetensors import read_arrays
from jbptt.networks.layers import Layer

NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d+)(_reverse)?)?")
NONLINEARITIES = {"tanh": tanh, "relu": relu}
CLASSES = {"lstm": "LSTM", "lstm_projected": "LSTM", "gru": "GRU", "rnn": "RNN", "rnn_relu": "RNN"}


def from_torch(source: Any, *, prefix: str = "", nonlinearity: str = "tanh") -> Converted:
    """The layers and parameters of a recurrent layer of PyTorch's.

    - `source`: a torch.nn.LSTM, GRU or RNN (or one of their Cells), a state dict (of tensors or NumPy arrays), or the
      name of a safetensors file of one.
    - `prefix`: of a larger model's state dict, what the layer's names begin with, as "encoder.".
    - `nonlinearity`: "tanh" or "relu", of an RNN's state dict, which does not tell; a module does.

    Returns (layers, params), as `jbptt.stack` takes them; the dtype stays. Whether the module is `batch_first` makes no
    difference to its parameters: ours takes xs [T, B, I]. Its dropout, between layers, is `stack`'s option. Raises
    ValueError for names and shapes that are not such a layer's, TypeError for another module or dtype.
    """
    state_dict = _state_dict(source)
    nonlinearity = getattr(source, "nonlinearity", nonlinearity)
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    by_layer = _by_layer({name: value for name, value in state_dict.items() if name.startswith(prefix)}, prefix)
    alike("PyTorch", "number of directions", map(len, by_layer))
    return of_layers([tuple(_ours(*one, nonlinearity) for one in layer.items()) for layer in by_layer])


def to_torch(layers: Sequence[Layer], params: Sequence[Any]) -> Any:
    """The torch.nn.LSTM, GRU or RNN of these layers, with their parameters and their dtype, on the CPU.

    Its xs are [T, B, I], as ours. Its `state_dict()` is what `safetensors.torch.save_file` takes. Raises ValueError for
    cells that PyTorch has not (it has lstm, lstm_projected, gru, rnn and rnn_cell(relu)), and for layers that differ
    from each other, as those of one module cannot; ImportError without torch.
    """
    torch = library("torch")
    found = in_kinds(layers, params, "PyTorch", CLASSES)
    directions = alike("PyTorch", "number of directions", map(len, found))
    cells = [cell for layer in found for cell in layer]
    kind = alike("PyTorch", "cell", (kind for kind, _ in cells))
    arrays = [arrays for _, arrays in cells]
    dtype = alike("PyTorch", "dtype", (str(each["U"].dtype) for each in arrays))
    is_biased = any("b" in each or "bn" in each for each in arrays)
    sizes = [each["R"].shape if kind == "lstm_projected" else each["W"].shape[:1] for each in arrays]
    hidden_size, *projection = alike("PyTorch", "hidden_size (and proj_size)", sizes)
    options: dict[str, Any] = {"num_layers": len(found), "bidirectional": directions == 2, "bias": is_biased}
    options |= {"proj_size": projection[0]} if projection else {}
    options |= {"nonlinearity": "relu" if kind == "rnn_relu" else "tanh"} if CLASSES[kind] == "RNN" else {}
    if projection and projection[0] >= hidden_size:
        raise ValueError(f"PyTorch's proj_size must be below hidden_size, got {projection[0]} of {hidden_size}")
    of_class = getattr(torch.nn, CLASSES[kind])
    module = of_class(arrays[0]["U"].shape[0], hidden_size, dtype=getattr(torch, dtype), **options)
    theirs = {}
    for number, layer in enumerate(found):
        for suffix, (_, each) in zip(("", "_reverse"), layer, strict=False):
            named = _theirs(kind, each, is_biased)
            theirs |= {f"{name}_l{number}{suffix}": _tensor(torch, array) for name, array in named.items()}
    module.load_state_dict(theirs)
    return module


def _state_dict(source):
    if isinstance(source, (str, os.PathLike)):
        return read_arrays(source)[0]
    if isinstance(source, Mapping):
        return source
    classes = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
    if not hasattr(source, "state_dict") or not isinstance(
        source, tuple(getattr(library("torch").nn, name) for name in classes)
    ):
        raise TypeError(
            f"source must be a torch.nn.{', '.join(classes)}, a state dict or the name of a safetensors file, "
            f"got {type(source).__name__}"
        )
    return source.state_dict()


def _by_layer(state_dict, prefix) -> list[dict[str, dict[str, np.ndarray]]]:
    """For each layer, and in it for each direction ("" or "_reverse"), PyTorch's arrays."""
    matches = {name: NAME.fullmatch(name.removeprefix(prefix)) for name in state_dict}
    if unknown := [name for name, match in matches.items() if not match]:
        starts = sorted({name[: -len("weight_ih_l0")] for name in state_dict if name.endswith(".weight_ih_l0")})
        hint = f"; prefix may be one of {starts}" if starts else ""
        raise ValueError(f"source has names that are not a recurrent layer's: {', '.join(unknown[:5])}{hint}")
    found: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    for name, match in matches.items():
        assert match  # those without are unknown
        kind, number, reverse = match.groups(default="")
        direction = found.setdefault(int(number or 0), {}).setdefault(reverse, {})
        if kind in direction:  # weight_ih_l0 and a Cell's weight_ih
            raise ValueError(f"source has two of one layer's {kind}, {name} is the second")
        direction[kind] = _array(state_dict[name])
    if sorted(found) != list(range(len(found))) or not found or any("" not in layer for layer in found.values()):
        raise ValueError(
            f"source must have weights of layers 0, 1, ..., each forward and maybe in reverse, got {sorted(matches)}"
        )
    return [{reverse: found[n][reverse] for reverse in sorted(found[n])} for n in range(len(found))]


def _ours(direction, theirs, nonlinearity):
    name = f"PyTorch's {'backward' if direction else 'forward'} weights"
    required, biases = {"weight_ih", "weight_hh"}, {"bias_ih", "bias_hh"}
    given = set(theirs) - {"weight_hr"}
    if given not in (required, required | biases):
        raise ValueError(f"{name} must be {sorted(required)}, with both biases or without, got {sorted(given)}")
    for key, array in theirs.items():
        if array.ndim != (2 if key.startswith("weight") else 1):
            raise ValueError(f"{name}: {key} must have {2 if key.startswith('weight') else 1} axes, got {array.shape}")
    hidden_size = theirs["weight_hr" if "weight_hr" in theirs else "weight_hh"].shape[1]
    gates = theirs["weight_ih"].shape[0] / max(1, hidden_size)
    cell = _cell(name, gates, theirs, nonlinearity, biased=biases <= given)
    arrays = {"U": theirs["weight_ih"].T, "W": theirs["weight_hh"].T}
    if "weight_hr" in theirs:
        arrays["R"] = theirs["weight_hr"].T
    if biases <= given:
        two = theirs["bias_ih"], theirs["bias_hh"]
        if two[0].shape != two[1].shape:
            raise ValueError(f"{name}: bias_ih {two[0].shape} and bias_hh {two[1].shape} must be of one shape")
        arrays |= gru_biases(*two) if gates == 3 else {"b": one_bias(*two)}
    return of_cell(name, cell, arrays)


def _cell(name, gates, theirs, nonlinearity, biased) -> Cell:
    if "weight_hr" in theirs and gates == 4:
        return lstm_projected_cell(theirs["weight_hr"].shape[0], bias=biased)
    makers = {4: lstm_cell, 3: gru_cell, 1: lambda bias: rnn_cell(NONLINEARITIES[nonlinearity], bias=bias)}
    if gates not in makers or "weight_hr" in theirs:
        shapes = {key: list(array.shape) for key, array in theirs.items()}
        raise ValueError(f"{name} must be those of an LSTM, a GRU or an RNN (4, 3 or 1 gates), got {shapes}")
    return makers[gates](bias=biased)


def _theirs(kind: str, params: Arrays, is_biased: bool) -> Arrays:
    theirs = {"weight_ih": params["U"].T, "weight_hh": params["W"].T}
    if "R" in params:
        theirs["weight_hr"] = params["R"].T
    if is_biased:
        b = bias_of(params)
        theirs |= {"bias_ih": b, "bias_hh": recurrent_gru_bias(params) if kind == "gru" else np.zeros_like(b)}
    return theirs


def _array(value) -> np.ndarray:
    """A tensor, or what NumPy takes, as a NumPy array of the same dtype."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":  # which torch does not hand to NumPy
        return value.view(library("torch").int16).numpy().view(jnp.bfloat16)
    return value.numpy()


def _tensor(torch, array):
    array = np.ascontiguousarray(array)
    if array.dtype == jnp.bfloat16:
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)
