"""What the converters share: which cells other libraries know, their parameters as NumPy arrays, and ours of theirs.

I inputs, H units, G gates, P projected units.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks
from jbptt.cells.elman import rnn, rnn_cell
from jbptt.cells.gru import gru
from jbptt.cells.gru_reset_before import gru_reset_before
from jbptt.cells.lstm import lstm
from jbptt.cells.lstm_projected import lstm_projected
from jbptt.cells.pieces import features_of_h
from jbptt.cells.rule import Cell, Params, Rule
from jbptt.feedforward.activations import relu, sigmoid
from jbptt.networks.layers import Bidirectional, Layer, check_layers

Arrays = dict[str, np.ndarray]
"""The parameters of one cell, ours, as NumPy arrays."""

Converted = tuple[list[Layer], list[Any]]
"""(layers, params), as `jbptt.stack` takes them."""

KINDS: dict[Rule, str] = {
    lstm.rule: "lstm",
    lstm_projected.rule: "lstm_projected",
    gru.rule: "gru",
    gru_reset_before.rule: "gru_reset_before",
    rnn.rule: "rnn",
    rnn_cell(relu).rule: "rnn_relu",
    rnn_cell(sigmoid).rule: "rnn_sigmoid",
}
"""The cells that another library has too, known by their rule: how they are initialised does not matter here."""


def library(name: str, remedy: str = "install it first") -> Any:
    """The module of another library. Raises ImportError, with the remedy."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}, which cannot be imported ({error}): {remedy}") from error


def to_jax(name: str, array: np.ndarray) -> jax.Array:
    """The array in JAX, bit by bit. Raises TypeError where JAX would change its dtype, or ours has no use for it."""
    if array.dtype not in checks.DTYPES:
        raise TypeError(f"{name} must be float32, float64 or bfloat16, got {array.dtype}: convert it first")
    made = jnp.array(array)  # a copy: another library's memory may change
    if made.dtype != array.dtype:
        raise TypeError(
            f"{name} is {array.dtype}, which JAX would cut to {made.dtype}: "
            "jax.config.update('jax_enable_x64', True) keeps it, or convert it first"
        )
    return made


def one_bias(input_bias: np.ndarray, recurrent_bias: np.ndarray) -> np.ndarray:
    """The sum of two biases; the first itself, its zeros' signs too, where the second is 0."""
    return np.where(recurrent_bias == 0, input_bias, input_bias + recurrent_bias)


def gru_biases(input_bias: np.ndarray, recurrent_bias: np.ndarray) -> Arrays:
    """Our "b" [3·H] and "bn" [H] of two biases [3·H], in our order of gates: the candidate's recurrent one stays apart,
    as it is inside the reset."""
    gates = 2 * input_bias.shape[-1] // 3
    b = one_bias(input_bias[:gates], recurrent_bias[:gates])
    return {"b": np.concatenate([b, input_bias[gates:]]), "bn": recurrent_bias[gates:]}


def recurrent_gru_bias(params: Arrays) -> np.ndarray:
    """(0, 0, bn) [3·H], which `gru_biases` takes apart again."""
    zeros = np.zeros_like(params["W"][0])
    return np.concatenate([zeros[: 2 * len(zeros) // 3], params["bn"]]) if "bn" in params else zeros


def bias_of(params: Arrays) -> np.ndarray:
    """The bias b [G·H]; zeros where there is none."""
    return params["b"] if "b" in params else np.zeros(params["U"].shape[1], params["U"].dtype)


def exchanged(array: np.ndarray, *order: int) -> np.ndarray:
    """[..., G·H] with its G blocks in another order."""
    return np.concatenate([np.split(array, len(order), axis=-1)[block] for block in order], axis=-1)


def of_cell(name: str, cell: Cell, arrays: Arrays) -> tuple[Cell, Params]:
    """One cell and its parameters in JAX. Raises ValueError, naming whose they were, if they do not fit each other."""
    params = {key: to_jax(f"{name}'s {key}", array) for key, array in arrays.items()}
    check_cell_params(name, cell, params)
    return cell, params


def check_cell_params(name: str, cell: Cell, params: Any) -> None:
    """Raises ValueError or TypeError, beginning with `name`, unless these are parameters of this cell."""
    U: Any = params.get("U") if hasattr(params, "get") else None
    try:
        cell.check(params, jnp.zeros(U.shape[:1], U.dtype) if hasattr(U, "dtype") else jnp.zeros(1))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def of_layers(found: Sequence[tuple[tuple[Cell, Params], ...]]) -> Converted:
    """The layers and their parameters, from (cell, parameters) of each direction of each layer.

    Raises ValueError for no layers, and unless every layer's I is the features of the hs of the one below it.
    """
    if not found:
        raise ValueError("there must be at least one layer to convert")
    layers: list[Layer] = []
    params: list[Any] = []
    features = None
    for number, directions in enumerate(found):
        features = _features(number, directions, features)
        cells, of_layer = zip(*directions, strict=True)
        layers.append(Bidirectional(*cells) if len(cells) == 2 else cells[0])
        params.append(tuple(of_layer) if len(cells) == 2 else of_layer[0])
    return layers, params


def _features(number: int, directions: Iterable[tuple[Cell, Params]], below: int | None) -> int:
    """Those of the hs of a layer, (cell, parameters) of each direction; `below`: those of the one below it, if any."""
    directions = list(directions)
    for _, params in directions:
        inputs = params["U"].shape[0]
        if below not in (None, inputs):
            raise ValueError(f"layer {number} has {inputs} inputs, and the one below it gives {below} features")
    return sum(features_of_h(*direction) for direction in directions)


def in_kinds(layers: Any, params: Any, to: str, kinds: Iterable[str]) -> list[tuple[tuple[str, Arrays], ...]]:
    """(kind, parameters) of each direction of each layer, for a library that has `kinds`.

    Raises TypeError for what are no layers, ValueError for params that are not theirs or do not fit the layer below,
    and for cells that `to`, the other library, has not.
    """
    check_layers(layers)
    if not isinstance(params, (list, tuple)) or len(params) != len(layers):
        raise ValueError(f"params must be a list, one for each of {len(layers)} layers")
    found, kinds, features = [], tuple(kinds), None
    for number, (layer, of_layer) in enumerate(zip(layers, params, strict=True)):
        cells, of_cells = (layer, of_layer) if isinstance(layer, Bidirectional) else ((layer,), (of_layer,))
        if not isinstance(of_cells, (list, tuple)) or len(of_cells) != len(cells):
            raise ValueError(f"params[{number}] must be a pair, (forward's, backward's)")
        for cell, of_one in zip(cells, of_cells, strict=True):
            kind = KINDS.get(cell.rule) if isinstance(cell, Cell) else None
            if kind not in kinds:
                name = getattr(cell, "name", type(cell).__name__)
                raise ValueError(f"layers[{number}] is {name}, which {to} has not: it has {', '.join(kinds)}")
            check_cell_params(f"params[{number}]", cell, of_one)
        features = _features(number, zip(cells, of_cells, strict=True), features)
        arrays = [{key: np.asarray(value) for key, value in of_one.items()} for of_one in of_cells]
        found.append(tuple(zip((KINDS[cell.rule] for cell in cells), arrays, strict=True)))
    return found


def alike(to: str, what: str, values: Iterable[Any]) -> Any:
    """The one value that all of these are. Raises ValueError if they differ, as the layers of one of `to`'s cannot."""
    values = list(values)
    if any(value != values[0] for value in values):
        raise ValueError(f"{to} has one {what} for all its layers, and these have {values}: convert them one by one")
    return values[0]
