"""The table of everything with a hand-derived backward pass: one row each, with random arguments of any size.

`jbptt compare` prints a line for every row, and the gradient tests run over the same rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jbptt.cells.bahdanau import bahdanau_cell
from jbptt.cells.elman import rnn
from jbptt.cells.luong import luong_cell
from jbptt.cells.rule import Cell
from jbptt.cells.table import CELLS
from jbptt.deferred.scan import scan as jbptt_scan
from jbptt.feedforward.activations import sigmoid
from jbptt.feedforward.layer import dense
from jbptt.feedforward.losses import binary_cross_entropy, mse, softmax_cross_entropy
from jbptt.feedforward.perceptron import mlp, mlp_init
from jbptt.networks.lecture import mimo, miso, network_init, simo, siso
from jbptt.networks.memory import with_memory
from jbptt.unrolling import unroll


class Sizes(NamedTuple):
    """T time steps, B batch, I inputs, H units; O outputs where there are some."""

    T: int
    B: int
    I: int
    H: int
    O: int = 10


class Row(NamedTuple):
    """Something with two backward passes.

    - `name`: what tables and the command line call it.
    - `build(key, sizes, dtype) -> (function, args)`: it, as `function(*args, vjp=...)`, and random arguments, by
      all of which it is differentiated.
    - `backends`: whether the function takes `unroll`'s `backend` too.
    """

    name: str
    build: Callable[[jax.Array, Sizes, Any], tuple[Callable, tuple]]
    backends: bool = False


def randomised(key: jax.Array, params: Any, scale: float = 0.5) -> Any:
    """`params` with noise on every entry, biases too: what is zero or orthogonal at the start hides bugs."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + (scale * jax.random.normal(k, leaf.shape, jnp.float32) / max(1, leaf.shape[0]) ** 0.5).astype(leaf.dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def random_state(key: jax.Array, state: Any) -> Any:
    """A state of random entries above 0, as a normaliser needs them, integers from 0 to 9, in the place of `state`."""

    def draw(key, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jax.random.randint(key, leaf.shape, 0, 10, leaf.dtype)
        return jax.random.uniform(key, leaf.shape, jnp.float32, 0.2, 1.2).astype(leaf.dtype)

    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [draw(k, leaf) for k, leaf in zip(keys, leaves, strict=True)])


def cell_arguments(cell: Cell, key: jax.Array, sizes: Sizes, dtype) -> tuple:
    """(params, xs [T, B, I], state) for `unroll`, all random."""
    keys = jax.random.split(key, 4)
    params = randomised(keys[0], cell.init(keys[1], sizes.I, sizes.H, dtype))
    state = random_state(keys[2], cell.initial_state(params, (sizes.B,)))
    return params, jax.random.normal(keys[3], (sizes.T, sizes.B, sizes.I), dtype), state


def _cell_row(name, cell):
    return Row(name, lambda key, sizes, dtype: (partial(unroll, cell), cell_arguments(cell, key, sizes, dtype)), True)


def _time_row(name, cell, *, lengths=False, resets=False, drawn=False, **options):
    """A cell with options of `unroll`; lengths from 0 to T, resets at random, and a key, where they are asked for."""

    def build(key, sizes, dtype):
        keys = jax.random.split(key, 4)
        params, xs, state = cell_arguments(cell, keys[0], sizes, dtype)
        marks = {}
        if lengths:
            marks["lengths"] = jax.random.randint(keys[1], (sizes.B,), 0, sizes.T + 1)
        if resets:
            marks["resets"] = jax.random.bernoulli(keys[2], 0.4, (sizes.T, sizes.B))
            marks["reset_state"] = random_state(keys[3], state)
        key = keys[0] if drawn else None

        def function(params, xs, state, marks, vjp, backend=None):
            return unroll(cell, params, xs, state, **marks, **options, key=key, vjp=vjp, backend=backend)

        return function, (params, xs, state, marks)

    return Row(name, build, backends=True)


def _attention_row(name, cell):
    """A decoder, with a memory of T + 1 positions, lengths of it from 1."""

    def build(key, sizes, dtype):
        keys = jax.random.split(key, 3)
        S = sizes.T + 1
        params, xs, state = cell_arguments(cell, keys[0], sizes, dtype)
        memory = jax.random.normal(keys[1], (S, sizes.B, sizes.H), dtype)
        lengths = jax.random.randint(keys[2], (sizes.B,), 1, S + 1)

        def function(params, memory, xs, state, vjp):
            return unroll(cell, with_memory(params, memory, lengths, vjp=vjp), xs, state, vjp=vjp)

        return function, (params, memory, xs, state)

    return Row(name, build)


def _scan_row(key, sizes, dtype):
    """A plain RNN as a user of `lax.scan` writes it, with a weight that is worth deferring at any size."""
    params, xs, state = cell_arguments(rnn, key, sizes._replace(B=1), dtype)
    xs, state = xs[:, 0], jax.tree.map(lambda leaf: leaf[0], state)

    def function(params, xs, state, vjp):
        def body(h, x):
            h = jnp.tanh(x @ params["U"] + h @ params["W"] + params["b"])
            return h, h

        return jbptt_scan(body, state.h, xs) if vjp == "manual" else jax.lax.scan(body, state.h, xs)

    return function, (params, xs, state)


def _network_row(network, *, one_input):
    def build(key, sizes, dtype):
        keys = jax.random.split(key, 2)
        params, xs, state = cell_arguments(rnn, keys[0], sizes, dtype)
        network_params = network_init(keys[1], rnn, sizes.I, sizes.H, sizes.O, dtype=dtype) | {"cell": params}
        if one_input:
            xs, network_of = xs[0], lambda params, x, state, vjp: network(rnn, params, x, sizes.T, state, vjp=vjp)
        else:
            network_of = partial(network, rnn)
        return network_of, (network_params, xs, state)

    return Row(network.__name__, build)


def _mlp_row(key, sizes, dtype):
    keys = jax.random.split(key, 3)
    params = randomised(keys[0], mlp_init(keys[1], [sizes.I, sizes.H, sizes.H, sizes.O], dtype=dtype))
    return partial(mlp, activation=sigmoid), (params, jax.random.normal(keys[2], (sizes.T, sizes.B, sizes.I), dtype))


def _dense_row(key, sizes, dtype):
    keys = jax.random.split(key, 3)
    (params,) = randomised(keys[0], mlp_init(keys[1], [sizes.I, sizes.H], dtype=dtype))
    return dense, (params, jax.random.normal(keys[2], (sizes.T, sizes.B, sizes.I), dtype))


def _loss_row(name, loss, *, classes=False, axes):
    """`axes`: 0, a weight for every element; 1, a weight for every row of O elements."""

    def build(key, sizes, dtype):
        keys = jax.random.split(key, 4)
        outputs = jax.random.normal(keys[0], (sizes.T, sizes.B, sizes.O), dtype)
        targets = (
            jax.random.randint(keys[1], outputs.shape[:-1], 0, sizes.O)
            if classes
            else jax.random.uniform(keys[1], outputs.shape, dtype)
        )
        weights = jax.random.uniform(keys[2], outputs.shape[: outputs.ndim - axes], dtype)
        masked = weights * jax.random.bernoulli(keys[3], 0.7, weights.shape).astype(dtype)
        return loss, (outputs, targets, masked)

    return Row(name, build)


ROWS: tuple[Row, ...] = (
    _loss_row("mse", mse, axes=0),
    _loss_row("binary_cross_entropy", binary_cross_entropy, axes=0),
    _loss_row("softmax_cross_entropy", softmax_cross_entropy, axes=1),
    _loss_row("softmax_cross_entropy_classes", softmax_cross_entropy, classes=True, axes=1),
    Row("dense", _dense_row),
    Row("mlp", _mlp_row),
    *[_cell_row(name, cell) for name, cell in CELLS.items()],
    _time_row("lengths", CELLS["lstm"], lengths=True),
    _time_row("resets", CELLS["lstm"], resets=True),
    _time_row("truncate", CELLS["lstm"], truncate=2),
    _time_row("checkpoint", CELLS["lstm"], checkpoint="sqrt"),
    _time_row("reverse_lengths_resets_truncate", CELLS["gru"], lengths=True, resets=True, reverse=True, truncate=2),
    _time_row("checkpoint_lengths_resets", CELLS["clockwork"], lengths=True, resets=True, checkpoint=2),
    _time_row("recurrent_dropout", CELLS["lstm"], drawn=True, recurrent_dropout=0.5),
    _time_row("zoneout", CELLS["lstm"], drawn=True, zoneout=0.4),
    _time_row("zoneout_mean", CELLS["lstm"], zoneout=0.4),
    _time_row(
        "dropout_zoneout_lengths_resets",
        CELLS["gru"],
        lengths=True,
        resets=True,
        reverse=True,
        checkpoint=2,
        drawn=True,
        recurrent_dropout=0.5,
        zoneout=0.4,
    ),
    _attention_row("bahdanau", bahdanau_cell(CELLS["gru"])),
    _attention_row("luong_dot", luong_cell(CELLS["lstm"], score="dot")),
    _attention_row("luong_general", luong_cell(CELLS["lstm"], score="general")),
    _attention_row("luong_concat", luong_cell(CELLS["lstm"], score="concat")),
    Row("scan", _scan_row),
    _network_row(siso, one_input=True),
    _network_row(simo, one_input=True),
    _network_row(miso, one_input=False),
    _network_row(mimo, one_input=False),
)
