"""Sequence to sequence (Sutskever 2014, Cho 2014): an encoder reads the source, and a decoder that starts from its last
states writes the target. Where the decoder's top layer is a cell with attention, it looks back at what the encoder made
of every position (Bahdanau 2015, Luong 2015).

S steps of the source, T of the target, B batch (any number of batch axes, none included), D embedding, V tokens.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jbptt import checks
from jbptt._jax import types
from jbptt.autodiff import Vjp
from jbptt.cells.pieces import features_of_h
from jbptt.cells.products import drawn
from jbptt.cells.rule import Cell, Consts
from jbptt.feedforward.layer import dense
from jbptt.feedforward.perceptron import mlp_init
from jbptt.networks.decoding import Next
from jbptt.networks.layers import Bidirectional, Layer, check_layers, stack, stack_init
from jbptt.networks.memory import with_memory
from jbptt.recurrence.inputs import Inputs, Spec
from jbptt.recurrence.options import checked_lengths
from jbptt.recurrence.plain import plain_residuals
from jbptt.recurrence.regularisation import dropped
from jbptt.unrolling import check_cell, like_batch

Params = dict[str, Any]
"""{"source", "target": embeddings, "encoder", "decoder", "bridges": one a layer, "output": {"w", "b"}}."""

HANDED_ON = ("h", "c")
"""The fields in which an encoder's summary is handed on, where the decoder's state is not like the encoder's."""


@jax.tree_util.register_static
class Seq2Seq(NamedTuple):
    """- `encoder`: layers, cells and `Bidirectional`s.
    - `decoder`: as many cells; the last may be a `bahdanau_cell` or a `luong_cell`.
    - `reverse`: whether the encoder, of cells alone, reads the source from its end to its beginning (Sutskever 2014).
    """

    encoder: tuple[Layer, ...]
    decoder: tuple[Cell, ...]
    reverse: bool = False


def seq2seq_init(
    key: jax.Array, model: Seq2Seq, source_size: int, target_size: int, hidden_size: int, dtype=jnp.float32
) -> Params:
    """Random parameters: embeddings of `source_size` and `target_size` tokens and every layer, `hidden_size` wide.

    A decoder's layer starts from the last state of the encoder's layer beside it: the same where the two are alike,
    else tanh of a dense layer, a "bridge", of all that state. Raises ValueError unless both have as many layers.
    """
    _check_model(model)
    check_layers(model.encoder, "encoder")
    check_layers(model.decoder, "decoder")
    for number, cell in enumerate(model.decoder):
        check_cell(cell, f"decoder[{number}]")
    if len(model.encoder) != len(model.decoder):
        raise ValueError(f"decoder must have as many layers as encoder, {len(model.encoder)}, got {len(model.decoder)}")
    if model.reverse and any(isinstance(layer, Bidirectional) for layer in model.encoder):
        raise ValueError("encoder must have no Bidirectional layer where reverse is True: it reads both ways already")
    checks.key("key", key)
    checks.size("source_size", source_size)
    checks.size("target_size", target_size)
    keys = jax.random.split(key, 6)
    encoder = stack_init(keys[0], model.encoder, hidden_size, hidden_size, dtype)
    decoder = stack_init(keys[1], model.decoder, hidden_size, hidden_size, dtype)
    xs = jnp.zeros((1, hidden_size), dtype)
    ends, hs = jax.eval_shape(lambda: stack(model.encoder, encoder, xs))
    if _attends(model):
        jax.eval_shape(lambda: with_memory(decoder[-1], jnp.zeros(hs.shape, dtype)))  # raises if its size is another
    bridges = [
        None if _alike(cell, of_cell, end) else _bridge_init(k, cell, of_cell, end, dtype)
        for cell, of_cell, end, k in zip(
            model.decoder, decoder, ends, jax.random.split(keys[2], len(decoder)), strict=True
        )
    ]
    (output,) = mlp_init(keys[3], [features_of_h(model.decoder[-1], decoder[-1]), target_size], dtype=dtype)
    embedding = jax.nn.initializers.normal(1.0)
    return {
        "source": drawn(embedding, keys[4], 1, (source_size, hidden_size), dtype),
        "target": drawn(embedding, keys[5], 1, (target_size, hidden_size), dtype),
        "encoder": encoder,
        "decoder": decoder,
        "bridges": bridges,
        "output": output,
    }


def seq2seq(
    model: Seq2Seq,
    params: Params,
    source: jax.Array,
    target: jax.Array,
    *,
    source_lengths: Any = None,
    target_lengths: Any = None,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    key: jax.Array | None = None,
    vjp: Vjp = "manual",
) -> jax.Array:
    """Teacher forcing: the logits of what follows each token of the target, given the tokens up to it.

    - `source` [S, B], `target` [T, B]: integer tokens, the target's first the one that begins every sequence.
    - `source_lengths`, `target_lengths` [B]: at least 1 and 0; what is past them touches nothing.
    - `dropout`: of embeddings, between layers, and before the output layer (Zaremba 2014); `recurrent_dropout` as in
      `unroll`, of every layer.
    - `key`: what they are drawn with, for training; without one, for evaluation, there is none.

    Returns logits [T, B, V], 0 + bias past a target's end. Raises ValueError for tokens out of range (NaN
    where they are traced), lengths or batches that do not fit, TypeError for tokens that are no integers.
    """
    checks.rate("dropout", dropout)
    checks.optional_key("key", key)
    source, source_lengths = _checked(model, params, source, source_lengths)
    target = _tokens("target", "[T, B]", target, params["target"])
    if target.shape[1:] != source.shape[1:]:
        raise ValueError(f"target must have source's batch, {list(source.shape[1:])}, got {list(target.shape[1:])}")
    if target_lengths is not None:
        target_lengths = checked_lengths(target_lengths, *_steps_and_batch(target), name="target_lengths")
    keys = [None] * 5 if key is None else jax.random.split(key, 5)
    rates: dict[str, Any] = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
    xs = dropped(keys[0], dropout, _embedded(params["source"], source))
    decoder, states = _started(model, params, xs, source_lengths, vjp, key=keys[1], **rates)
    xs = dropped(keys[2], dropout, _embedded(params["target"], target))
    _, hs = stack(model.decoder, decoder, xs, states, lengths=target_lengths, vjp=vjp, key=keys[3], **rates)
    return dense(params["output"], dropped(keys[4], dropout, hs), vjp=vjp)


def alignments(
    model: Seq2Seq, params: Params, source: jax.Array, target: jax.Array, *, source_lengths: Any = None
) -> jax.Array:
    """α [T, B, S]: how much each step of the decoder attends to each position of the source; arguments as in `seq2seq`.

    Raises ValueError for a decoder without attention.
    """
    source, source_lengths = _checked(model, params, source, source_lengths)
    cell = model.decoder[-1]
    if not _attends(model):
        raise ValueError(f"decoder must end in a bahdanau_cell or a luong_cell to have alignments, not in {cell.name}")
    decoder, states = _started(model, params, _embedded(params["source"], source), source_lengths, "manual")
    xs = _embedded(params["target"], _tokens("target", "[T, B]", target, params["target"]))
    if len(decoder) > 1:
        _, xs = stack(model.decoder[:-1], decoder[:-1], xs, states[:-1])
    cell.check(decoder[-1].params, xs)
    return _alphas(Spec(cell.rule), Inputs(decoder[-1], states[-1], xs))


@partial(jax.jit, static_argnums=0, inline=True)
def _alphas(spec, inputs):
    _, steps = plain_residuals(spec, inputs)
    return steps.saved.attended.alpha


def decoder_of(
    model: Seq2Seq, params: Params, source: jax.Array, *, source_lengths: Any = None
) -> tuple[Next, tuple[Any, ...]]:
    """(next, state) for `greedy`, `sampled` and `beam_search`: the decoder, having read the source [S, B]."""
    source, source_lengths = _checked(model, params, source, source_lengths)
    decoder, states = _started(model, params, _embedded(params["source"], source), source_lengths, "manual")
    return Partial(_next_of(tuple(model.decoder)), decoder, params["target"], params["output"]), states


@lru_cache(maxsize=64)
def _next_of(cells):
    """A step of the decoder, whose arrays are its arguments: what is compiled for one source serves all."""

    def next(decoder, embedding, output, states, tokens):
        with_beams = [*decoder[:-1], _for_beams(decoder[-1], tokens.shape)]
        states, hs = stack(cells, with_beams, _embedded(embedding, tokens[None]), states)
        return states, dense(output, hs[0])

    return next


def _started(model, params, xs, source_lengths, vjp, **options):
    """(the decoder's parameters, with its memory; its states), the encoder having read the embedded source.

    - `options`: `stack`'s, for the encoder.
    """
    options |= {"reverse": True} if model.reverse else {}
    ends, hs = stack(model.encoder, params["encoder"], xs, lengths=source_lengths, vjp=vjp, **options)
    decoder = list(params["decoder"])
    states = [
        end if bridge is None else _bridged(cell, of_cell, bridge, end, vjp)
        for cell, of_cell, bridge, end in zip(model.decoder, decoder, params["bridges"], ends, strict=True)
    ]
    if _attends(model):
        decoder[-1] = with_memory(decoder[-1], hs, source_lengths, vjp=vjp)
    return decoder, tuple(like_batch(state, xs) for state in states)  # a bridge's zeros are sharded as nothing yet


def _check_model(model):
    if not isinstance(model, Seq2Seq):
        raise TypeError(f"model must be a jbptt.Seq2Seq(encoder, decoder), got {type(model).__name__}")


def _checked(model, params, source, source_lengths):
    """(source, its lengths), the model and its parameters checked too."""
    _check_model(model)
    names = {"source", "target", "encoder", "decoder", "bridges", "output"}
    checks.keys("params", params, names, set(), "make it with jbptt.seq2seq_init")
    source = _tokens("source", "[S, B]", source, params["source"])
    S, batch = _steps_and_batch(source)
    if S == 0:
        raise ValueError(f"source must have at least one token, S of [S, B], got {list(source.shape)}")
    if source_lengths is None:
        return source, None
    return source, checked_lengths(source_lengths, S, batch, name="source_lengths", least=1)


def _steps_and_batch(tokens):
    steps, *batch = tokens.shape
    return steps, tuple(batch)


def _tokens(name, symbols, tokens, embedding):
    tokens = checks.array(name, tokens)
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, tokens, got {tokens.dtype}")
    if tokens.ndim == 0:
        raise ValueError(f"{name} must have shape {symbols}, got []")
    last = embedding.shape[0] - 1
    checks.within(name, tokens, last, f"tokens in 0..{last}")
    return tokens


def _embedded(embedding, tokens):
    rows = jnp.where(tokens < 0, embedding.shape[0], tokens)  # −1 is no last token
    sharding = types.sharding_like(tokens, [*range(tokens.ndim), None])  # which JAX does not find by itself
    return jnp.asarray(embedding).at[rows].get(mode="fill", out_sharding=sharding)


def _alike(cell, params, end):
    """Whether the encoder's state is one of the decoder's cell."""
    start = jax.eval_shape(lambda: cell.initial_state(params, ()))
    return jax.tree.structure(start) == jax.tree.structure(end) and jax.tree.leaves(start) == jax.tree.leaves(end)


def _bridge_init(key, cell, params, end, dtype):
    size = sum(leaf.shape[-1] for leaf in _floats(end))
    start = _inner(jax.eval_shape(lambda: cell.initial_state(params, ())))
    names = [name for name in HANDED_ON if name in start._fields]
    keys = jax.random.split(key, len(names))
    layers = {}
    for name, k in zip(names, keys, strict=True):
        (layers[name],) = mlp_init(k, [size, getattr(start, name).shape[-1]], dtype=dtype)
    return layers


def _bridged(cell, params, bridge, end, vjp):
    summary = jnp.concatenate(_floats(end), axis=-1)
    start = cell.initial_state(params, summary.shape[:-1])
    inner = _inner(start)._replace(**{name: jnp.tanh(dense(layer, summary, vjp=vjp)) for name, layer in bridge.items()})
    return inner if _inner(start) is start else start._replace(inner=inner)


def _floats(end):
    return [leaf for leaf in jax.tree.leaves(end) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _inner(state):
    return getattr(state, "inner", state)


def _for_beams(consts, batch):
    """The memory of B sequences for tokens [B], or [B, W]: the same for all beams."""
    if not isinstance(consts, Consts) or consts.memory is None or consts.memory.mask.shape[:-1] == batch:
        return consts

    def repeated(leaf):
        return jnp.broadcast_to(leaf[:, None], (*batch, *leaf.shape[1:]))

    return consts._replace(memory=jax.tree.map(repeated, consts.memory))


def _attends(model):
    return "memory" in model.decoder[-1].rule.reads
