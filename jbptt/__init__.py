"""Recurrent networks in JAX as pure functions, with backpropagation through time derived by hand."""

from jbptt.cells.cell import Cell as Cell, Kept as Kept, gated_cell as gated_cell, gated_init as gated_init
from jbptt.cells.elman import RNNState as RNNState, rnn as rnn, rnn_cell as rnn_cell
from jbptt.cells.gru import GRUState as GRUState, gru as gru, gru_cell as gru_cell
from jbptt.cells.lstm import LSTMState as LSTMState, lstm as lstm, lstm_cell as lstm_cell
from jbptt.comparison.pair import Report as Report, compare as compare
from jbptt.feedforward.activations import (
    Activation as Activation,
    identity as identity,
    relu as relu,
    sigmoid as sigmoid,
    tanh as tanh,
)
from jbptt.feedforward.layer import dense as dense
from jbptt.feedforward.losses import (
    binary_cross_entropy as binary_cross_entropy,
    mse as mse,
    softmax_cross_entropy as softmax_cross_entropy,
)
from jbptt.feedforward.perceptron import mlp as mlp, mlp_init as mlp_init
from jbptt.networks.lecture import mimo as mimo, miso as miso, network_init as network_init, simo as simo, siso as siso
from jbptt.recurrence.unrolling import unroll as unroll
