"""Sequence to sequence with attention (Bahdanau 2015, Luong 2015), and without (Sutskever 2014, Cho 2014).

S tokens of the source, T of the target, B batch, V tokens of the target's vocabulary.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jbptt.app import regularising
from jbptt.app.optimising import optimizer_of
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.translation.pairs import END, START, Batch, Encoding
from jbptt.app.tasks.translation.settings import Settings
from jbptt.cells.bahdanau import bahdanau_cell
from jbptt.cells.luong import luong_cell
from jbptt.cells.pieces import features_of_h
from jbptt.cells.table import CELLS
from jbptt.feedforward.losses import softmax_cross_entropy
from jbptt.networks.decoding import Decoded, n_best
from jbptt.networks.layers import Bidirectional
from jbptt.networks.seq2seq import Seq2Seq, alignments, decoder_of, seq2seq, seq2seq_init
from jbptt.recurrence.options import steps_within


class Learner(NamedTuple):
    """A model's parameters, and optax's state."""

    params: dict
    optimizer: Any


class Carry(NamedTuple):
    """All that training carries from step to step, and all that a checkpoint holds.

    - `learners`: the model of each attention that is trained.
    - `losses`: of the first of them, of the steps since the last report.
    """

    learners: dict[str, Learner]
    losses: RunningMean


class Score(NamedTuple):
    """Of a batch.

    - `nats`, `tokens`: the sum of the targets' cross entropies, and over how many tokens.
    - `exact` [B]: whether what is written is the target.
    - `written` [T, B]: tokens.
    """

    nats: jax.Array
    tokens: jax.Array
    exact: jax.Array
    written: jax.Array


def attentions(settings: Settings) -> list[str]:
    """Those of the models that a run trains side by side, on the same batches."""
    return list(dict.fromkeys([settings.attention, *(["none"] if settings.baseline else [])]))


def model_of(settings: Settings, attention: str) -> Seq2Seq:
    """The network that the settings name, with this attention."""
    cell = CELLS[settings.cell]
    both = settings.encoder == "bidirectional"
    params = jax.eval_shape(partial(cell.init, input_size=1, hidden_size=settings.hidden), jax.random.key(0))
    memory_size = features_of_h(cell, params) * (2 if both else 1)
    top = cell
    if attention == "bahdanau":
        top = bahdanau_cell(cell, memory_size=memory_size)
    elif attention != "none":
        top = luong_cell(cell, score=attention.removeprefix("luong_"), memory_size=memory_size)
    layer = Bidirectional(cell, cell) if both else cell
    others = settings.layers - 1
    return Seq2Seq((layer,) * settings.layers, (*[cell] * others, top), reverse=settings.encoder == "reversed")


def init(settings: Settings, encoding: Encoding) -> Carry:
    """Where training starts."""
    key, dtype = jax.random.key(settings.seed), jnp.dtype(settings.dtype)
    learners = {}
    for attention in attentions(settings):
        model = model_of(settings, attention)
        params = seq2seq_init(key, model, encoding.source.size, encoding.target.size, settings.hidden, dtype)
        learners[attention] = Learner(params, optimizer_of(settings).init(params))
    return Carry(learners, RunningMean.empty())


def nats(
    settings: Settings, attention: str, params: dict, batch: Batch, key: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """(teacher forcing's cross entropy, summed over the tokens of the targets; their number); in training with a key,
    where anything is drawn."""
    logits = seq2seq(
        model_of(settings, attention),
        params,
        batch.source,
        batch.target,
        source_lengths=batch.source_lengths,
        target_lengths=batch.target_lengths,
        key=key,
        vjp=settings.vjp,
        **regularising.rates(settings),
    )
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))  # a sum of losses is not for bfloat16
    weights = steps_within(batch.target_lengths, batch.target.shape[0]).astype(logits.dtype)
    total = softmax_cross_entropy(logits, batch.following, weights, reduction="sum", vjp=settings.vjp)
    return total, jnp.sum(weights)


def loss(settings: Settings, attention: str, key: jax.Array | None, params: dict, batch: Batch) -> jax.Array:
    """Nats a token of the targets, in training."""
    total, tokens = nats(settings, attention, params, batch, key)
    return total / tokens


def train_step(settings: Settings, carry: Carry, batch: Batch, number: jax.Array) -> Carry:
    """Step `number`, 0, 1, ..., of every learner. Pure; `settings` is static under jit."""
    values, learners, key = {}, {}, regularising.key_of_step(settings, number)
    for attention, (params, optimizer) in carry.learners.items():
        values[attention], dparams = jax.value_and_grad(partial(loss, settings, attention, key))(params, batch)
        updates, optimizer = optimizer_of(settings).update(dparams, optimizer, params)
        learners[attention] = Learner(cast(dict, optax.apply_updates(params, updates)), optimizer)
    return Carry(learners, carry.losses.add(values[settings.attention]))


def score(settings: Settings, attention: str, params: dict, batch: Batch) -> Score:
    """How well a model knows a batch, and what it writes by itself, greedily."""
    steps = batch.following.shape[0]
    written = translate(settings, attention, params, batch.source, batch.source_lengths, steps, width=1).tokens[..., 0]
    exact = jnp.all(written == batch.following, axis=0)
    return Score(*nats(settings, attention, params, batch), exact, written)


def translate(
    settings: Settings, attention: str, params: dict, source: jax.Array, lengths: jax.Array, steps: int, width: int
) -> Decoded:
    """What the model writes for sources [S, B], with `width` beams, W: tokens [T, B, W]."""
    model = model_of(settings, attention)
    next, state = decoder_of(model, params, source, source_lengths=lengths)
    start = jnp.full(source.shape[1:], START, jnp.int32)
    return n_best(next, state, start, end=END, steps=steps, width=width)


def alignment(settings: Settings, attention: str, params: dict, batch: Batch) -> jax.Array:
    """α [T, B, S] of a batch's targets."""
    model = model_of(settings, attention)
    return alignments(model, params, batch.source, batch.target, source_lengths=batch.source_lengths)
