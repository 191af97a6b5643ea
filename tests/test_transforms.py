"""Under jit, vmap, checkpoint and an outer scan, and differentiated twice: still what JAX derives."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import (
    ROWS_BY_NAME,
    ROWS_OF_EVERY_KIND,
    SIZES,
    assert_close,
    assert_gradients_match,
    cotangent_patterns,
    twins,
)
from jax import lax
from jax.experimental import checkify

import jbptt
from jbptt.comparison.pair import value_and_gradients

COPIES = 2


@jax.tree_util.register_pytree_with_keys_class
class Registered(Mapping):
    """A mapping that is no dict, as flax's FrozenDict is, its keys in the order of a dict's leaves."""

    def __init__(self, items):
        self.items_ = dict(items)

    def __getitem__(self, key):
        return self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)

    def tree_flatten_with_keys(self):
        keys = tuple(sorted(self.items_))
        return [(jax.tree_util.DictKey(key), self.items_[key]) for key in keys], keys

    @classmethod
    def tree_unflatten(cls, keys, values):
        return cls(zip(keys, values, strict=True))


CELLS = ["rnn_relu", "lstm", "gru"]
every_row = pytest.mark.parametrize("row", ROWS_OF_EVERY_KIND, ids=lambda row: row.name)


def stacked(tree):
    """COPIES of every floating point leaf, no two alike; an integer's copies are alike."""

    def copies(leaf):
        factors = 1 + jnp.arange(COPIES) if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.ones(COPIES)
        factors = factors.astype(leaf.dtype).reshape(COPIES, *[1] * leaf.ndim)
        return jnp.broadcast_to(leaf, (COPIES, *leaf.shape)) * jnp.broadcast_to(factors, (COPIES, *leaf.shape))

    return jax.tree.map(copies, tree)


def whole(fn, args):
    """Of all outputs at once: the pattern matters to the cells, not to what is done to them here."""
    return {"all outputs": cotangent_patterns(fn, args)["all outputs"]}


def check(transform, row_name, make_args=lambda *args: args, sizes=SIZES):
    manual, auto, args = twins(ROWS_BY_NAME[row_name], sizes)
    manual, auto, args = transform(manual), transform(auto), make_args(*args)
    assert_gradients_match(manual, auto, args, patterns=whole(auto, args))


@every_row
def test_vmap_of_every_argument(row):
    check(jax.vmap, row.name, lambda *args: stacked(args))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "axes", [(None, 0, None), (0, None, None), (None, 2, None), (0, 1, 1)], ids=["xs", "params", "xs_last", "mixed"]
)
def test_vmap_of_some(name, axes):
    """A shared argument's gradient is a sum over the copies; the copies' axis need not be the first."""

    def batched(*args):
        return tuple(
            arg if axis is None else jax.tree.map(lambda leaf, axis=axis: jnp.moveaxis(leaf, 0, axis), stacked(arg))
            for arg, axis in zip(args, axes, strict=True)
        )

    check(partial(jax.vmap, in_axes=axes), name, batched)


@pytest.mark.parametrize("name", CELLS)
def test_vmap_of_the_gradient(name):
    """Gradients per example: vmap outside of the vjp."""
    manual, auto, (params, xs, state) = twins(ROWS_BY_NAME[name])

    def per_example(fn):
        def gradient(params, x, state):
            return value_and_gradients(fn)((params, x, state), cotangents)

        return jax.jit(jax.vmap(gradient, in_axes=(None, 1, 0)))

    cotangents = cotangent_patterns(auto, (params, xs[:, 0], jax.tree.map(lambda leaf: leaf[0], state)))["all outputs"]
    got = per_example(manual)(params, xs, state)
    assert got["gradient"][0]["W"].shape == (SIZES.B, *params["W"].shape)
    assert_close(got, per_example(auto)(params, xs, state))


@pytest.mark.parametrize("name", [*CELLS, "simo", "mlp"])
def test_checkpoint(name):
    check(jax.checkpoint, name)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_without_jit(name):
    manual, auto, args = twins(ROWS_BY_NAME[name])
    cotangents = cotangent_patterns(auto, args)["all outputs"]
    compiled = jax.jit(value_and_gradients(auto))(args, cotangents)
    assert_close(value_and_gradients(manual)(args, cotangents), compiled)


@pytest.mark.parametrize("name", CELLS)
def test_inside_another_scan(name):
    """Segments one after another, the state carried from one to the next: the weights are used by every one."""

    def over_segments(unroll):
        def run(params, segments, state):
            return lax.scan(lambda state, xs: unroll(params, xs, state), state, segments)

        return run

    check(over_segments, name, lambda params, xs, state: (params, stacked(xs), state))


@every_row
def test_gradient_of_the_gradient(row):
    """Second order: the hand-derived backward pass is itself differentiated, against auto's own."""
    manual, auto, args = twins(row, SIZES._replace(T=3))
    cotangents = cotangent_patterns(auto, args)["all outputs"]

    def gradient(fn):
        return lambda *args: value_and_gradients(fn)(args, cotangents)["gradient"]

    manual, auto = gradient(manual), gradient(auto)
    assert_gradients_match(manual, auto, args, patterns=whole(auto, args))


def test_vmap_of_options():
    """Lengths along their second axis, resets along their last, one reset state for all: of two batches at once."""
    row = ROWS_BY_NAME["dropout_zoneout_lengths_resets"]
    _, _, (params, xs, state, marks) = twins(row)
    one = marks["lengths"], marks["resets"]
    lengths, resets = jnp.stack([one[0], one[0][::-1]], axis=1), jnp.stack([one[1], one[1][::-1]], axis=-1)

    def run(vjp, params, xs, state, lengths, resets):
        options = {"lengths": lengths, "resets": resets, "reset_state": marks["reset_state"], "zoneout": 0.3}
        return jbptt.unroll(jbptt.gru, params, xs, state, **options, vjp=vjp)

    manual, auto = (jax.vmap(partial(run, vjp), in_axes=(None, None, 0, 1, -1)) for vjp in ("manual", "auto"))
    args = params, xs, stacked(state), lengths, resets
    assert_gradients_match(manual, auto, args, patterns=whole(auto, args))
    _, hs = manual(*args)
    assert_close(
        hs[1], run("auto", params, xs, stacked(state)._replace(h=2 * state.h), lengths[:, 1], resets[..., 1])[1]
    )


CONTAINERS = {"OrderedDict": OrderedDict, "defaultdict": partial(defaultdict, None), "a registered mapping": Registered}


@pytest.mark.parametrize("vjp", ["manual", "auto"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_gradients_come_in_the_container_of_the_parameters(container, vjp):
    make = CONTAINERS[container]
    params = jbptt.network_init(jax.random.key(0), jbptt.lstm, 3, 4, 2)
    layer = [{"w": jnp.ones((3, 2), jnp.float32), "b": jnp.zeros(2, jnp.float32)}]
    xs = jnp.ones((5, 2, 3), jnp.float32)
    runs = {
        "unroll": (make(params["cell"]), lambda p: jbptt.unroll(jbptt.lstm, p, xs, vjp=vjp)[1]),
        "mimo": (make(params | {"cell": make(params["cell"])}), lambda p: jbptt.mimo(jbptt.lstm, p, xs, vjp=vjp)[1]),
        "dense": (make(layer[0]), lambda p: jbptt.dense(p, xs, vjp=vjp)),
        "mlp": ([make(layer[0])], lambda p: jbptt.mlp(p, xs, vjp=vjp)),
    }
    for name, (given, run) in runs.items():
        gradient = jax.grad(lambda p, run=run: jnp.sum(run(p) ** 2))(given)
        assert jax.tree.structure(gradient) == jax.tree.structure(given), name
        plain = jax.grad(lambda p, run=run: jnp.sum(run(p) ** 2))(as_dicts(given))
        assert_close(as_dicts(gradient), plain, tolerance=0)


def as_dicts(tree):
    if isinstance(tree, list):
        return [as_dicts(part) for part in tree]
    return {key: as_dicts(tree[key]) for key in tree} if isinstance(tree, Mapping) else tree


@pytest.mark.parametrize("backend", [None, "scan"])
@pytest.mark.parametrize("form", [lambda run: run, jax.jit, jax.grad])
def test_checkify_sees_into_the_recurrence(form, backend):
    """Also where a kernel would run."""
    params = jbptt.lstm.init(jax.random.key(0), 4, 8, jnp.float32)

    def error(xs):
        def cost(params):
            return jnp.sum(jnp.nan_to_num(jbptt.unroll(jbptt.lstm, params, xs, backend=backend)[1]))

        return checkify.checkify(form(cost), errors=checkify.nan_checks)(params)[0].get()

    xs = jnp.ones((64, 16, 4), jnp.float32)
    if backend is None and jbptt.backends()["cpu"].available:
        assert "jbptt_forward" in jax.jit(lambda params: jbptt.unroll(jbptt.lstm, params, xs)).lower(params).as_text()
    assert "nan generated by primitive: dot_general" in error(xs.at[3, 2, 1].set(jnp.nan))
    assert error(xs) is None
