"""Recurrent networks in JAX as pure functions, with backpropagation through time derived by hand."""

from importlib.metadata import version as _version

from jbptt import interop as interop
from jbptt.autodiff import Residuals as Residuals
from jbptt.backends.choosing import backends as backends
from jbptt.backends.protocol import Backend as Backend, BackendStatus as BackendStatus
from jbptt.cells.bahdanau import (
    bahdanau_cell as bahdanau_cell,
)
from jbptt.cells.clockwork import (
    ClockworkState as ClockworkState,
    clockwork as clockwork,
    clockwork_cell as clockwork_cell,
)
from jbptt.cells.elman import RNNState as RNNState, irnn as irnn, rnn as rnn, rnn_cell as rnn_cell
from jbptt.cells.gated import gated_cell as gated_cell, gated_init as gated_init
from jbptt.cells.gru import GRUState as GRUState, gru as gru, gru_cell as gru_cell
from jbptt.cells.gru_reset_before import (
    gru_reset_before as gru_reset_before,
    gru_reset_before_cell as gru_reset_before_cell,
    mgu as mgu,
    mgu_cell as mgu_cell,
)
from jbptt.cells.indrnn import indrnn as indrnn, indrnn_cell as indrnn_cell
from jbptt.cells.leaky import leaky_rnn as leaky_rnn, leaky_rnn_cell as leaky_rnn_cell
from jbptt.cells.lstm import LSTM_VARIANTS as LSTM_VARIANTS, lstm as lstm, lstm_cell as lstm_cell
from jbptt.cells.lstm_depth_gated import (
    DepthGatedState as DepthGatedState,
    lstm_depth_gated as lstm_depth_gated,
    lstm_depth_gated_cell as lstm_depth_gated_cell,
)
from jbptt.cells.lstm_layer_norm import (
    lstm_layer_norm as lstm_layer_norm,
    lstm_layer_norm_cell as lstm_layer_norm_cell,
)
from jbptt.cells.lstm_pair import LSTMGatesState as LSTMGatesState, LSTMState as LSTMState
from jbptt.cells.lstm_projected import lstm_projected as lstm_projected, lstm_projected_cell as lstm_projected_cell
from jbptt.cells.luong import (
    LuongState as LuongState,
    luong_cell as luong_cell,
)
from jbptt.cells.rule import (
    Cell as Cell,
    Consts as Consts,
    Memory as Memory,
    Rule as Rule,
    StepResiduals as StepResiduals,
)
from jbptt.cells.slstm import SLSTMState as SLSTMState, slstm as slstm, slstm_cell as slstm_cell
from jbptt.comparison.pair import Report as Report, compare as compare
from jbptt.deferred.scan import scan as scan
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
from jbptt.feedforward.output import dense_softmax_cross_entropy as dense_softmax_cross_entropy
from jbptt.feedforward.perceptron import mlp as mlp, mlp_init as mlp_init
from jbptt.interop.files import load as load, save as save
from jbptt.networks.decoding import (
    Decoded as Decoded,
    beam_search as beam_search,
    greedy as greedy,
    n_best as n_best,
    sampled as sampled,
)
from jbptt.networks.layers import (
    Bidirectional as Bidirectional,
    bidirectional as bidirectional,
    stack as stack,
    stack_init as stack_init,
)
from jbptt.networks.lecture import mimo as mimo, miso as miso, network_init as network_init, simo as simo, siso as siso
from jbptt.networks.memory import with_memory as with_memory
from jbptt.networks.padding import pad as pad
from jbptt.networks.seq2seq import (
    Seq2Seq as Seq2Seq,
    alignments as alignments,
    decoder_of as decoder_of,
    seq2seq as seq2seq,
    seq2seq_init as seq2seq_init,
)
from jbptt.recurrence.inputs import Inputs as Inputs, Outputs as Outputs, Spec as Spec, Wanted as Wanted
from jbptt.unrolling import step as step, unroll as unroll, unroll_states as unroll_states

__version__ = _version("jbptt")
