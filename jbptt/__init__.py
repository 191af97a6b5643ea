"""Recurrent networks in JAX as pure functions, with backpropagation through time derived by hand."""

from jbptt.cells.cell import (
    Cell as Cell,
)
from jbptt.cells.cell import (
    Kept as Kept,
)
from jbptt.cells.cell import (
    gated_cell as gated_cell,
)
from jbptt.cells.cell import (
    gated_init as gated_init,
)
from jbptt.cells.elman import (
    RNNState as RNNState,
)
from jbptt.cells.elman import (
    rnn as rnn,
)
from jbptt.cells.elman import (
    rnn_cell as rnn_cell,
)
from jbptt.cells.gru import (
    GRUState as GRUState,
)
from jbptt.cells.gru import (
    gru as gru,
)
from jbptt.cells.gru import (
    gru_cell as gru_cell,
)
from jbptt.cells.lstm import (
    LSTMState as LSTMState,
)
from jbptt.cells.lstm import (
    lstm as lstm,
)
from jbptt.cells.lstm import (
    lstm_cell as lstm_cell,
)
from jbptt.comparison.pair import (
    Report as Report,
)
from jbptt.comparison.pair import (
    compare as compare,
)
from jbptt.feedforward.activations import (
    Activation as Activation,
)
from jbptt.feedforward.activations import (
    identity as identity,
)
from jbptt.feedforward.activations import (
    relu as relu,
)
from jbptt.feedforward.activations import (
    sigmoid as sigmoid,
)
from jbptt.feedforward.activations import (
    tanh as tanh,
)
from jbptt.feedforward.layer import dense as dense
from jbptt.feedforward.losses import (
    binary_cross_entropy as binary_cross_entropy,
)
from jbptt.feedforward.losses import (
    mse as mse,
)
from jbptt.feedforward.losses import (
    softmax_cross_entropy as softmax_cross_entropy,
)
from jbptt.feedforward.perceptron import (
    mlp as mlp,
)
from jbptt.feedforward.perceptron import (
    mlp_init as mlp_init,
)
from jbptt.networks.lecture import (
    mimo as mimo,
)
from jbptt.networks.lecture import (
    miso as miso,
)
from jbptt.networks.lecture import (
    network_init as network_init,
)
from jbptt.networks.lecture import (
    simo as simo,
)
from jbptt.networks.lecture import (
    siso as siso,
)
from jbptt.recurrence.unrolling import unroll as unroll
