"""Every cell, by the name that tables, tests and the command line use."""

from jbptt.cells.cell import Cell
from jbptt.cells.elman import rnn, rnn_cell
from jbptt.cells.gru import gru, gru_cell
from jbptt.cells.lstm import lstm, lstm_cell
from jbptt.feedforward.activations import relu, sigmoid

CELLS: dict[str, Cell] = {
    "rnn": rnn,
    "rnn_sigmoid": rnn_cell(sigmoid),
    "rnn_relu": rnn_cell(relu),
    "rnn_nobias": rnn_cell(bias=False),
    "lstm": lstm,
    "lstm_nobias": lstm_cell(bias=False),
    "gru": gru,
    "gru_nobias": gru_cell(bias=False),
}
