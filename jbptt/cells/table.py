"""Every cell, by the name that tables, tests and the command line use."""

from typing import TYPE_CHECKING, Literal

from jbptt.cells.clockwork import clockwork
from jbptt.cells.elman import irnn, rnn, rnn_cell
from jbptt.cells.gru import gru, gru_cell
from jbptt.cells.gru_reset_before import gru_reset_before, mgu
from jbptt.cells.indrnn import indrnn
from jbptt.cells.leaky import leaky_rnn
from jbptt.cells.lstm import LSTM_VARIANTS, lstm, lstm_cell
from jbptt.cells.lstm_depth_gated import lstm_depth_gated
from jbptt.cells.lstm_layer_norm import lstm_layer_norm
from jbptt.cells.lstm_projected import lstm_projected
from jbptt.cells.rule import Cell
from jbptt.cells.slstm import slstm
from jbptt.feedforward.activations import relu, sigmoid

CELLS: dict[str, Cell] = {
    "rnn": rnn,
    "rnn_sigmoid": rnn_cell(sigmoid),
    "rnn_relu": rnn_cell(relu),
    "rnn_nobias": rnn_cell(bias=False),
    "rnn_heads": rnn_cell(heads=4),
    "irnn": irnn,
    "indrnn": indrnn,
    "leaky_rnn": leaky_rnn,
    "clockwork": clockwork,
    "lstm": lstm,
    "lstm_nobias": lstm_cell(bias=False),
    "lstm_heads": lstm_cell(heads=4),
    **{f"lstm_{name.lower()}": cell for name, cell in LSTM_VARIANTS.items() if cell is not lstm},
    "lstm_coupled": lstm_cell(coupled=True),
    "lstm_depth_gated": lstm_depth_gated,
    "lstm_projected": lstm_projected,
    "lstm_layer_norm": lstm_layer_norm,
    "slstm": slstm,
    "gru": gru,
    "gru_nobias": gru_cell(bias=False),
    "gru_heads": gru_cell(heads=4),
    "gru_reset_before": gru_reset_before,
    "mgu": mgu,
}

if TYPE_CHECKING:
    CellName = str  # a type checker knows no Literal that is made of a table
else:
    CellName = Literal[tuple(CELLS)]
