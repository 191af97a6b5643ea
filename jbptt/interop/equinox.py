"""equinox's recurrent cells: equinox.nn.LSTMCell and GRUCell.

    ours            equinox's
    U [I, G·H]      weight_ih [G·H, I], transposed
    W [H, G·H]      weight_hh [G·H, H], transposed
    b [G·H]         bias
    bn [H], gru's   bias_n

The gates are in our order: i, f, g, o and r, u ("inp" in equinox), n. equinox has no layers and no directions: a list
of cells is one above the other, and in it a pair of them is a Bidirectional.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.cells.gru import gru_cell
from jbptt.cells.lstm import lstm_cell
from jbptt.interop.network import Converted, bias_of, in_kinds, library, of_cell, of_layers
from jbptt.networks.layers import Layer


def from_equinox(cells: Any) -> Converted:
    """The layers and parameters of recurrent cells of equinox's.

    - `cells`: an equinox.nn.LSTMCell or GRUCell, or a list of them, one above the other, in which a pair of cells, a
      tuple, is (forward's, backward's).

    Returns (layers, params), as `jbptt.stack` takes them; the dtype stays. Raises TypeError for anything else.
    """
    layers = cells if isinstance(cells, list) else [cells]
    pairs = [layer if isinstance(layer, tuple) else (layer,) for layer in layers]
    if not pairs or not all(len(pair) in (1, 2) for pair in pairs):
        raise TypeError("cells must be a cell, or a list of cells and of pairs of them, one above the other")
    return of_layers([tuple(_ours(cell) for cell in pair) for pair in pairs])


def to_equinox(layers: Sequence[Layer], params: Sequence[Any]) -> list[Any]:
    """equinox's cells of these layers, with their parameters and dtype: a list, with a pair for each Bidirectional.

    Raises ValueError for cells that equinox has not (it has lstm and gru), ImportError without equinox.
    """
    found = in_kinds(layers, params, "equinox", ("lstm", "gru"))
    made = [tuple(_theirs(*one) for one in layer) for layer in found]
    return [layer if len(layer) == 2 else layer[0] for layer in made]


def _ours(cell):
    nn = library("equinox").nn
    if not isinstance(cell, (nn.LSTMCell, nn.GRUCell)):
        raise TypeError(f"cells must be equinox.nn.LSTMCells and GRUCells, got {type(cell).__name__}")
    arrays = {"U": np.asarray(cell.weight_ih).T, "W": np.asarray(cell.weight_hh).T}
    if cell.use_bias:
        arrays["b"] = np.asarray(cell.bias)
    if cell.use_bias and isinstance(cell, nn.GRUCell):
        arrays["bn"] = np.asarray(cell.bias_n)
    maker = gru_cell if isinstance(cell, nn.GRUCell) else lstm_cell
    return of_cell(f"equinox's {type(cell).__name__}", maker(bias=cell.use_bias), arrays)


def _theirs(kind, params):
    equinox = library("equinox")
    (I, _), (H, _) = params["U"].shape, params["W"].shape
    is_biased = "b" in params or "bn" in params
    maker = equinox.nn.GRUCell if kind == "gru" else equinox.nn.LSTMCell
    cell = maker(I, H, use_bias=is_biased, dtype=params["U"].dtype, key=jax.random.key(0))
    fields = {"weight_ih": params["U"].T, "weight_hh": params["W"].T}
    if is_biased:
        fields["bias"] = bias_of(params)
    if is_biased and kind == "gru":
        fields["bias_n"] = params["bn"] if "bn" in params else np.zeros(H, params["U"].dtype)
    arrays = [jnp.asarray(array) for array in fields.values()]
    return equinox.tree_at(lambda cell: [getattr(cell, name) for name in fields], cell, arrays)
