"""Karpathy's char-RNN (The Unreasonable Effectiveness of Recurrent Neural Networks, 2015): predict the next character.

Characters, one-hot, go through one or more recurrent layers and an output layer, y = softmax(V h + c). Training is
stateful truncated backpropagation through time: the text runs by as B parallel streams in chunks of T characters,
and each chunk starts from the state in which the one before it ended.

T time, B batch, K characters in the vocabulary, H units.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jbptt.app import regularising
from jbptt.app.optimising import optimizer_of
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.chars.settings import Settings
from jbptt.cells.pieces import features_of_h
from jbptt.cells.rule import Cell
from jbptt.cells.table import CELLS
from jbptt.feedforward.layer import dense
from jbptt.feedforward.losses import softmax_cross_entropy
from jbptt.feedforward.perceptron import mlp_init
from jbptt.networks.drawing import drawn_of_likeliest
from jbptt.networks.layers import stack, stack_init
from jbptt.recurrence.regularisation import dropped

Tokens = Any
"""An array of integers: NumPy's where it is made, JAX's where it is traced."""


class Carry(NamedTuple):
    """All that training carries from step to step, and all that a checkpoint holds.

    - `params`: {"layers": one cell's parameters each, "output": {"w" [H, K], "b" [K]}}.
    - `optimizer`: optax's state.
    - `states`: every layer's recurrent state.
    - `losses`: of the steps since the last report.
    """

    params: dict
    optimizer: Any
    states: tuple
    losses: RunningMean


class Chunk(NamedTuple):
    """One step's `inputs` and `targets` [T, B], the targets one character on; `first`, whether an epoch begins; and
    the step's number."""

    inputs: Tokens
    targets: Tokens
    first: bool
    number: int = 0


class Drawing(NamedTuple):
    """How a character is drawn: at a temperature, 0 for the likeliest, of the `top_k` likeliest, and of those of the
    fewest that have `top_p` of the probability."""

    temperature: float = 0.7
    top_k: int = 2**31 - 1
    top_p: float = 1.0


def cell_of(settings: Settings) -> Cell:
    """The cell that the settings name."""
    return CELLS[settings.cell]


def init(settings: Settings, vocabulary_size: int) -> Carry:
    """Where training starts."""
    cell, dtype = cell_of(settings), jnp.dtype(settings.dtype)
    layers_key, output_key = jax.random.split(jax.random.key(settings.seed))
    layers = stack_init(layers_key, [cell] * settings.layers, vocabulary_size, settings.hidden, dtype)
    (output,) = mlp_init(output_key, [features_of_h(cell, layers[-1]), vocabulary_size], dtype=dtype)
    params = {"layers": layers, "output": output}
    states = initial_states(settings, params, settings.batch)
    return Carry(params, optimizer_of(settings).init(params), states, RunningMean.empty())


def initial_states(settings: Settings, params: dict, batch: int) -> tuple:
    """Every layer's state at the beginning of a text."""
    return tuple(cell_of(settings).initial_state(layer, (batch,)) for layer in params["layers"])


def logits(
    settings: Settings, params: dict, states: tuple, characters: jax.Array, key: jax.Array | None = None
) -> tuple[tuple, jax.Array]:
    """(states after, logits [T, B, K]) of characters [T, B]; in training with a key, where anything is drawn.

    Dropout is between layers, the output layer among them (Zaremba 2014).
    """
    output = params["output"]
    layers, options = [cell_of(settings)] * settings.layers, regularising.rates(settings)
    states, hs = stack(layers, params["layers"], characters, states, vjp=settings.vjp, key=key, **options)
    key_output = None if key is None else jax.random.fold_in(key, settings.layers)  # layers have those before it
    return states, dense(output, dropped(key_output, settings.dropout, hs), vjp=settings.vjp)


def loss(
    settings: Settings,
    params: dict,
    states: tuple,
    inputs: jax.Array,
    targets: jax.Array,
    key: jax.Array | None = None,
) -> tuple[jax.Array, tuple]:
    """(cross entropy in nats a character, states after)."""
    states, z = logits(settings, params, states, inputs, key)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))  # a mean of losses is not for bfloat16
    return softmax_cross_entropy(z, targets, vjp=settings.vjp), states


def train_step(settings: Settings, carry: Carry, chunk: Chunk) -> Carry:
    """One step of stateful truncated backpropagation through time. Pure; `settings` is static under jit."""
    starts = initial_states(settings, carry.params, chunk.inputs.shape[1])
    states = jax.tree.map(lambda start, state: jnp.where(chunk.first, start, state), starts, carry.states)
    key = regularising.key_of_step(settings, chunk.number)
    gradient = jax.value_and_grad(lambda params: loss(settings, params, states, *chunk[:2], key), has_aux=True)
    (value, states), dparams = gradient(carry.params)
    updates, optimizer = optimizer_of(settings).update(dparams, carry.optimizer, carry.params)
    params = cast(dict, optax.apply_updates(carry.params, updates))
    return Carry(params, optimizer, states, carry.losses.add(value))


def chunk_of(step: int, stream: np.ndarray, length: int) -> Chunk:
    """The chunk of step 0, 1, ... of endless epochs over the streams [N, B]."""
    chunks = chunks_in(stream, length)
    start = step % chunks * length
    return Chunk(stream[start : start + length], stream[start + 1 : start + length + 1], step % chunks == 0, step)


def chunks_in(stream: Tokens, length: int) -> int:
    """How many whole chunks an epoch has: each needs the character after its last as a target."""
    return (len(stream) - 1) // length


def evaluate(settings: Settings, params: dict, stream: jax.Array) -> jax.Array:
    """Mean cross entropy, nats a character, over streams [N, B] from the initial state on."""
    chunks = chunks_in(stream, settings.length)
    inputs, targets = (
        part[: chunks * settings.length].reshape(chunks, settings.length, -1) for part in (stream[:-1], stream[1:])
    )

    def chunk_loss(states, chunk):
        value, states = loss(settings, params, states, *chunk)
        return states, value.astype(jnp.float32)

    _, losses = jax.lax.scan(chunk_loss, initial_states(settings, params, stream.shape[1]), (inputs, targets))
    return jnp.mean(losses)


def sample(
    settings: Settings, params: dict, key: jax.Array, prime: jax.Array, length: int, drawing: Drawing
) -> jax.Array:
    """`length` characters that continue `prime` [P], P ≥ 1. `length` is static."""

    def draw(key, z):
        z, (temperature, top_k, top_p) = z[-1, 0], drawing
        drawn = drawn_of_likeliest(jnp.where(temperature == 0, 1, temperature), top_k, top_p, key, z)
        return jnp.where(temperature == 0, jnp.argmax(z), drawn).astype(jnp.int32)

    def next_character(carry, key):
        states, character = carry
        states, z = logits(settings, params, states, character[None, None])
        following = draw(key, z)
        return (states, following), following

    keys = jax.random.split(key, length)
    states, z = logits(settings, params, initial_states(settings, params, 1), prime[:, None])
    first = draw(keys[0], z)
    _, rest = jax.lax.scan(next_character, (states, first), keys[1:])
    return jnp.concatenate([first[None], rest])
