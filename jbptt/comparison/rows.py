"""The table of everything with a hand-derived backward pass: one row each, with random arguments of any size.

`jbptt compare` prints a line for every row, and the gradient tests run over the same rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.cells.bahdanau import bahdanau_cell
from jbptt.cells.elman import rnn
from jbptt.cells.luong import luong_cell
from jbptt.cells.rule import Cell
from jbptt.cells.table import CELLS
from jbptt.deferred.scan import scan as jbptt_scan
from jbptt.feedforward.activations import sigmoid
from jbptt.feedforward.layer import dense
from jbptt.feedforward.losses import binary_cross_entropy, mse, softmax_cross_entropy
from jbptt.feedforward.output import dense_softmax_cross_entropy
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
    - `build(seed, sizes, dtype) -> (function, args)`: it, as `function(*args, vjp=...)`, and random arguments, by
      all of which it is differentiated.
    - `backends`: whether the function takes `unroll`'s `backend` too.
    """

    name: str
    build: Callable[[int, Sizes, Any], tuple[Callable, tuple]]
    backends: bool = False


class Draws:
    """Random arguments of a dtype, by NumPy: nothing is compiled to have them.

    - `seed`: equal ones draw alike.
    """

    def __init__(self, seed: int, dtype: Any):
        self._generator = np.random.default_rng(seed)
        self.dtype = dtype

    def normal(self, *shape: int, scale: float = 1) -> jax.Array:
        return jnp.asarray(self._generator.normal(0, scale, shape), self.dtype)

    def uniform(self, *shape: int, absent: float = 0) -> jax.Array:
        """From 0 to 1, and 0 that often."""
        values, there = self._generator.random((2, *shape))
        return jnp.asarray(values * (there >= absent), self.dtype)

    def integers(self, low: int, high: int, *shape: int) -> jax.Array:
        """From `low` to `high` − 1."""
        return jnp.asarray(self._generator.integers(low, high, shape), jnp.int32)

    def yes(self, probability: float, *shape: int) -> jax.Array:
        """True that often."""
        return jnp.asarray(self._generator.random(shape) < probability)

    def params(self, init: Callable, *args: Any) -> Any:
        """What `init(key, *args, dtype=)` makes, but every entry random, of about 1/√fan-in, biases too: zeros and
        orthogonal matrices hide bugs."""
        types = jax.eval_shape(lambda key: init(key, *args, dtype=self.dtype), jax.random.key(0))
        return jax.tree.map(lambda leaf: self.normal(*leaf.shape, scale=max(1, leaf.shape[0]) ** -0.5), types)

    def state(self, initial_state: Callable, *args: Any) -> Any:
        """What `initial_state(*args)` is like, but of entries above 0, as a normaliser needs them, or from 0 to 9 where
        they are integers."""

        def draw(leaf):
            if jnp.issubdtype(leaf.dtype, jnp.integer):
                return self.integers(0, 10, *leaf.shape).astype(leaf.dtype)
            return jnp.asarray(self._generator.uniform(0.2, 1.2, leaf.shape), leaf.dtype)

        return jax.tree.map(draw, jax.eval_shape(initial_state, *args))

    def of_cell(self, cell: Cell, sizes: Sizes, batch_shape: tuple[int, ...] | None = None) -> tuple:
        """(params, xs [T, B, I], state) for `unroll`; a `batch_shape` takes the place of B."""
        batch_shape = (sizes.B,) if batch_shape is None else batch_shape
        params = self.params(cell.init, sizes.I, sizes.H)
        state = self.state(lambda params: cell.initial_state(params, batch_shape), params)
        return params, self.normal(sizes.T, *batch_shape, sizes.I), state


def _cell_row(name, cell):
    return Row(name, lambda seed, sizes, dtype: (partial(unroll, cell), Draws(seed, dtype).of_cell(cell, sizes)), True)


def _time_row(name, cell, *, indices=False, lengths=False, mask=False, resets=False, drawn=False, **options):
    """A cell with options of `unroll`; integers for xs, lengths from 0 to T, marks at random, a key, where they are
    asked for."""

    def build(seed, sizes, dtype):
        draws = Draws(seed, dtype)
        params, xs, state = draws.of_cell(cell, sizes)
        if indices:
            xs = draws.integers(0, sizes.I, sizes.T, sizes.B)
        marks = {}
        if lengths:
            marks["lengths"] = draws.integers(0, sizes.T + 1, sizes.B)
        if mask:
            marks["mask"] = draws.yes(0.6, sizes.T, sizes.B)
        if resets:
            marks["resets"] = draws.yes(0.4, sizes.T, sizes.B)
            marks["reset_state"] = draws.state(lambda: state)
        key = jax.random.key(seed) if drawn else None

        def function(params, xs, state, marks, vjp, backend=None):
            return unroll(cell, params, xs, state, **marks, **options, key=key, vjp=vjp, backend=backend)

        return function, (params, xs, state, marks)

    return Row(name, build, backends=True)


def _attention_row(name, cell):
    """A decoder, with a memory of T + 1 positions, lengths of it from 1."""

    def build(seed, sizes, dtype):
        draws = Draws(seed, dtype)
        S = sizes.T + 1
        params, xs, state = draws.of_cell(cell, sizes)
        memory, lengths = draws.normal(S, sizes.B, sizes.H), draws.integers(1, S + 1, sizes.B)

        def function(params, memory, xs, state, vjp):
            return unroll(cell, with_memory(params, memory, lengths, vjp=vjp), xs, state, vjp=vjp)

        return function, (params, memory, xs, state)

    return Row(name, build)


def _scan_row(seed, sizes, dtype):
    """A plain RNN as a user of `lax.scan` writes it, with a weight that is worth deferring at any size."""
    params, xs, state = Draws(seed, dtype).of_cell(rnn, sizes, batch_shape=())

    def function(params, xs, state, vjp):
        def body(h, x):
            h = jnp.tanh(x @ params["U"] + h @ params["W"] + params["b"])
            return h, h

        return jbptt_scan(body, state.h, xs) if vjp == "manual" else jax.lax.scan(body, state.h, xs)

    return function, (params, xs, state)


def _network_row(network, *, one_input):
    def build(seed, sizes, dtype):
        draws = Draws(seed, dtype)
        _, xs, state = draws.of_cell(rnn, sizes)
        params = draws.params(network_init, rnn, sizes.I, sizes.H, sizes.O)
        if one_input:

            def network_of(params, x, state, vjp):
                return network(rnn, params, x, sizes.T, state, vjp=vjp)

            return network_of, (params, draws.normal(sizes.B, sizes.I), state)
        return partial(network, rnn), (params, xs, state)

    return Row(network.__name__, build)


def _mlp_row(seed, sizes, dtype):
    draws = Draws(seed, dtype)
    params = draws.params(mlp_init, [sizes.I, sizes.H, sizes.H, sizes.O])
    return partial(mlp, activation=sigmoid), (params, draws.normal(sizes.T, sizes.B, sizes.I))


def _dense_row(seed, sizes, dtype):
    draws = Draws(seed, dtype)
    (params,) = draws.params(mlp_init, [sizes.I, sizes.H])
    return dense, (params, draws.normal(sizes.T, sizes.B, sizes.I))


def _output_row(seed, sizes, dtype):
    """Half of the steps at once, after what is left over."""
    draws, rows = Draws(seed, dtype), (sizes.T, sizes.B)
    params = {"w": draws.normal(sizes.I, sizes.O, scale=sizes.I**-0.5), "b": draws.normal(sizes.O)}
    args = params, draws.normal(*rows, sizes.I), draws.integers(0, sizes.O, *rows), draws.uniform(*rows, absent=0.3)
    return partial(dense_softmax_cross_entropy, chunk=max(1, sizes.T // 2)), args


def _loss_row(name, loss, *, classes=False, axes):
    """`axes`: 0, a weight for every element; 1, a weight for every row of O elements."""

    def build(seed, sizes, dtype):
        draws, shape = Draws(seed, dtype), (sizes.T, sizes.B, sizes.O)
        targets = draws.integers(0, sizes.O, *shape[:-1]) if classes else draws.uniform(*shape)
        weights = shape[: len(shape) - axes]
        return loss, (draws.normal(*shape), targets, draws.uniform(*weights, absent=0.3))

    return Row(name, build)


ROWS: tuple[Row, ...] = (
    _loss_row("mse", mse, axes=0),
    _loss_row("binary_cross_entropy", binary_cross_entropy, axes=0),
    _loss_row("softmax_cross_entropy", softmax_cross_entropy, axes=1),
    _loss_row("softmax_cross_entropy_classes", softmax_cross_entropy, classes=True, axes=1),
    Row("dense", _dense_row),
    Row("dense_softmax_cross_entropy", _output_row),
    Row("mlp", _mlp_row),
    *[_cell_row(name, cell) for name, cell in CELLS.items()],
    _time_row("indices", CELLS["lstm"], indices=True),
    _time_row("lengths", CELLS["lstm"], lengths=True),
    _time_row("mask", CELLS["lstm"], mask=True),
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
