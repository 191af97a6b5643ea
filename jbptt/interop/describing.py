"""What stands in a file beside the arrays, as JSON: plain values, and the cells, layers and models of this library.

    plain values, lists, dicts    as they are
    inf, -inf, nan                {"$float": "inf"}
    (1, 2)                        {"$tuple": [1, 2]}
    jbptt.lstm                    {"$cell": "lstm"}, a name of `jbptt cells`
    jbptt.lstm_cell(heads=2)      {"$cell": "lstm_cell", "options": {"heads": 2}}
    jbptt.relu                    {"$activation": "relu"}
    jbptt.Bidirectional(f, b)     {"$bidirectional": [f, b]}
    jbptt.Seq2Seq(e, d, reverse)  {"$seq2seq": [e, d, reverse]}

Reading makes cells again by calling their makers, which check what they are given; there is nothing else to call.
"""

import inspect
import math
from typing import Any

import numpy as np

from jbptt.cells.bahdanau import bahdanau_cell
from jbptt.cells.clockwork import clockwork_cell
from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru import gru_cell
from jbptt.cells.gru_reset_before import gru_reset_before_cell, mgu_cell
from jbptt.cells.indrnn import indrnn_cell
from jbptt.cells.leaky import leaky_rnn_cell
from jbptt.cells.lstm import lstm_cell
from jbptt.cells.lstm_depth_gated import lstm_depth_gated_cell
from jbptt.cells.lstm_layer_norm import lstm_layer_norm_cell
from jbptt.cells.lstm_projected import lstm_projected_cell
from jbptt.cells.luong import luong_cell
from jbptt.cells.making import making_of
from jbptt.cells.rule import Cell
from jbptt.cells.slstm import slstm_cell
from jbptt.cells.table import CELLS
from jbptt.feedforward.activations import Activation, identity, relu, sigmoid, tanh
from jbptt.networks.layers import Bidirectional
from jbptt.networks.seq2seq import Seq2Seq

MAKERS = {
    maker.__name__: maker
    for maker in (
        bahdanau_cell,
        clockwork_cell,
        gru_cell,
        gru_reset_before_cell,
        indrnn_cell,
        leaky_rnn_cell,
        lstm_cell,
        lstm_depth_gated_cell,
        lstm_layer_norm_cell,
        lstm_projected_cell,
        luong_cell,
        mgu_cell,
        rnn_cell,
        slstm_cell,
    )
}
ACTIVATIONS = {activation.name: activation for activation in (identity, relu, sigmoid, tanh)}
CLASSES = {"$bidirectional": Bidirectional, "$seq2seq": Seq2Seq}


def described(name: str, value: Any) -> Any:
    """The value as what JSON has. Raises TypeError or ValueError, naming it, for what a file cannot hold."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Cell):
        return _described_cell(name, value)
    if isinstance(value, Activation):
        if ACTIVATIONS.get(value.name) != value:
            raise ValueError(
                f"{name} is an activation of your own, {value.name}, which a file cannot name: leave it out"
            )
        return {"$activation": value.name}
    for tag, of_class in CLASSES.items():
        if isinstance(value, of_class):
            return {tag: [described(f"{name}.{field}", getattr(value, field)) for field in value._fields]}
    if type(value) in (list, tuple):
        items = [described(f"{name}[{number}]", item) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if type(value) is dict:
        if wrong := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise ValueError(f"{name} must have texts for keys that do not begin with $, got {wrong[0]!r}")
        return {key: described(f"{name}[{key!r}]", item) for key, item in value.items()}
    raise TypeError(
        f"{name} must be of numbers, texts, lists, tuples, dicts, cells and layers, got {type(value).__name__}"
    )


def made_again(value: Any) -> Any:
    """What `described` described. Raises ValueError for anything else."""
    if isinstance(value, list):
        return [made_again(item) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: made_again(item) for key, item in value.items()}
    if tags == ["$cell"] and set(value) <= {"$cell", "options"}:
        return _cell(value["$cell"], made_again(value["options"]) if "options" in value else None)
    (tag, of_tag), *others = value.items()
    if not others and tag == "$activation" and isinstance(of_tag, str) and of_tag in ACTIVATIONS:
        return ACTIVATIONS[of_tag]
    if not others and tag == "$float" and of_tag in ("inf", "-inf", "nan"):
        return float(of_tag)
    if not others and tag in (*CLASSES, "$tuple") and isinstance(of_tag, list):
        items = tuple(made_again(item) for item in of_tag)
        if tag == "$tuple":
            return items
        if len(items) == len(CLASSES[tag]._fields):
            return CLASSES[tag](*items)
    raise ValueError(f"{tags[0]} is not described as jbptt.save does")


def _described_cell(name, cell):
    for of_table, other in CELLS.items():
        if cell == other:
            return {"$cell": of_table}
    making = making_of(cell)
    if making is not None:
        maker = making.maker.__name__.lstrip("_")
        options = inspect.signature(making.maker).bind(*making.args, **making.options).arguments
        if maker == "leaky_rnn_cell":
            options |= options.pop("wiring")._asdict()
        if maker in MAKERS:
            found = {"$cell": maker, "options": described(f"{name}'s options", dict(options))}
            if made_again(found) == cell:
                return found
    raise ValueError(f"{name} is a cell of your own, {cell.name}, which a file cannot name")


def _cell(name, options):
    if options is None and isinstance(name, str) and name in CELLS:
        return CELLS[name]
    if not isinstance(name, str) or name not in MAKERS or not isinstance(options, dict):
        raise ValueError(f"there is no cell {name!r}")
    try:
        return MAKERS[name](**options)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} cannot be made: {error}") from None
