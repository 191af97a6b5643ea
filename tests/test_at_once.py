"""Layers of one sequence at once: when they are, and that nothing but the time they take is another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, mesh_of
from jax.sharding import NamedSharding, PartitionSpec

import jbptt
from jbptt.backends.cpu.library import loaded
from jbptt.networks import layers as layers_module
from jbptt.recurrence.precision import in_dtype

pytestmark = pytest.mark.skipif(isinstance(loaded(), str), reason=f"no kernels: {loaded()}")

KEY = jax.random.key(0)
T, I, H = 145, 40, 64
LSTM, GRU, CIFG = jbptt.lstm, jbptt.gru, jbptt.LSTM_VARIANTS["CIFG"]
BOTH = jbptt.Bidirectional(LSTM, GRU)


def given(layers, T=T, B=1, I=I, H=H):
    """(params, xs, states), all of float32."""
    params = jbptt.stack_init(KEY, layers, I, H)
    params = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(KEY, leaf.shape, leaf.dtype), params)

    def start(layer, params):
        if isinstance(layer, jbptt.Bidirectional):
            return tuple(start(cell, of_cell) for cell, of_cell in zip(layer, params, strict=True))
        zeros = layer.initial_state(params, (B,))
        return jax.tree.map(lambda leaf: 0.3 * jax.random.normal(KEY, leaf.shape, leaf.dtype), zeros)

    states = tuple(start(layer, of_layer) for layer, of_layer in zip(layers, params, strict=True))
    return params, jax.random.normal(KEY, (T, B, I), jnp.float32), states


def calls_of(function, *args):
    return jax.jit(function).lower(*args).as_text().count("custom_call @jbptt")


def in_turn(function):
    """The same with one call for each layer."""

    def traced(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layers_module, "unroll_at_once", lambda *args, **options: None)
            return function(*args)

    return traced


CHOICES = {
    "two above each other": ([LSTM, LSTM], {}, {}, 1),
    "three of several kinds": ([LSTM, GRU, CIFG], {}, {}, 1),
    "both directions": ([BOTH], {}, {}, 1),
    "both directions, and two above": ([BOTH, LSTM, LSTM], {}, {}, 2),
    "with lengths": ([LSTM, LSTM], {}, {"lengths": jnp.array([100])}, 1),
    "with evaluation's zoneout of 0": ([LSTM, LSTM], {}, {"zoneout": 0.0}, 1),
    "one": ([LSTM], {}, {}, 1),
    "a batch of two": ([LSTM, LSTM], {"B": 2}, {}, 2),
    "few steps": ([LSTM, LSTM], {"T": 95}, {}, 2),
    "little work": ([LSTM, LSTM], {"H": 16}, {}, 2),
    "from the last step to the first": ([LSTM, LSTM], {}, {"reverse": True}, 2),
    "no kernel between": ([LSTM, jbptt.mgu, LSTM], {}, {}, 2),
    "dropout": ([LSTM, LSTM], {}, {"dropout": 0.5, "key": KEY}, 2),
    "auto": ([LSTM, LSTM], {}, {"vjp": "auto"}, 0),
    "by the scan": ([LSTM, LSTM], {}, {"backend": "scan"}, 0),
    "checkpoints": ([LSTM, LSTM], {}, {"checkpoint": 100, "backend": "scan"}, 0),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen(name):
    layers, sizes, options, calls = CHOICES[name]
    params, xs, states = given(layers, **sizes)
    assert calls_of(lambda *args: jbptt.stack(layers, *args, **options), params, xs, states) == calls


CASES = {
    "two": ([LSTM, LSTM], T, {}),
    "three of several kinds": ([LSTM, GRU, CIFG], 192, {}),
    "one step over two blocks": ([LSTM, LSTM], 97, {}),
    "peepholes": ([jbptt.LSTM_VARIANTS["V"], LSTM], T, {}),
    "lengths": ([LSTM, GRU], T, {"lengths": jnp.array([101])}),
    "no step": ([LSTM, GRU], T, {"lengths": jnp.array([0])}),
    "resets": ([LSTM, GRU], T, {"resets": jnp.arange(T)[:, None] % 37 == 5}),
    "truncated, and zoneout's mean": ([LSTM, GRU], T, {"truncate": 37, "zoneout": 0.2}),
    "both directions": ([BOTH, BOTH], T, {}),
    "both directions, lengths and resets": (
        [BOTH, LSTM, LSTM],
        T,
        {"lengths": jnp.array([101]), "resets": jnp.arange(T)[:, None] % 37 == 5},
    ),
}


def gradients_of(layers, options):
    def cost(params, xs, states):
        ends, hs = jbptt.stack(layers, params, xs, states, **options)
        return jnp.sum(jnp.sin(hs)) + sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(ends))

    return jax.value_and_grad(cost, (0, 1, 2) if "resets" not in options else (0, 1))


@pytest.mark.parametrize("name", CASES)
def test_every_bit_is_that_of_one_after_the_other(name):
    layers, T, options = CASES[name]
    args = given(layers, T)
    both = gradients_of(layers, options)
    assert calls_of(both, *args) < calls_of(in_turn(both), *args)
    assert_close(jax.jit(both)(*args), jax.jit(in_turn(both))(*args), 0)


@pytest.mark.parametrize("layers", [[LSTM, GRU], [BOTH]], ids=["stack", "bidirectional"])
def test_every_bit_in_bfloat16(layers):
    args = in_dtype(given(layers, I=H + 1), jnp.bfloat16)
    both = gradients_of(layers, {})
    assert calls_of(both, *args) < calls_of(in_turn(both), *args)
    assert_close(jax.jit(both)(*args), jax.jit(in_turn(both))(*args), 0)


def test_directions_of_two_dtypes_are_not_at_once():
    (of_one,), xs, _ = given([jbptt.Bidirectional(LSTM, LSTM)])
    params = of_one[0], in_dtype(of_one[1], jnp.bfloat16)
    indices = jnp.zeros(xs.shape[:-1], jnp.int32)
    both = jbptt.Bidirectional(LSTM, LSTM)
    with jax.numpy_dtype_promotion("standard"):  # hs of the two are joined
        assert calls_of(lambda params: jbptt.bidirectional(both, params, indices)[1], params) == 2


def test_gradients_are_those_of_the_scan():
    layers = [BOTH, LSTM, GRU]
    args = given(layers)
    assert_close(jax.jit(gradients_of(layers, {}))(*args), jax.jit(gradients_of(layers, {"vjp": "auto"}))(*args), 1e-4)


def test_xs_of_numpy():
    layers = [LSTM, LSTM]
    params, xs, states = given(layers)
    assert calls_of(lambda params: jbptt.stack(layers, params, np.asarray(xs), states), params) == 1


@pytest.mark.parametrize("layers", [[LSTM, LSTM], [BOTH]], ids=["stack", "bidirectional"])
def test_symbolic_sizes_are_exported(layers):
    params, xs, _ = given(layers)
    function = jax.jit(lambda xs: jbptt.stack(layers, params, xs)[1])
    for shape in (f"t, 1, {I}", f"t, b, {I}"):
        unknown = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.float32)
        assert_close(jax.export.export(function)(unknown).call(xs), function(xs), 1e-5)


def test_integers_and_no_batch_axis():
    layers = [LSTM, LSTM]
    params = given(layers)[0]
    xs = jax.random.randint(KEY, (T,), 0, I)
    both = jax.value_and_grad(lambda params: jnp.sum(jnp.sin(jbptt.stack(layers, params, xs)[1])))
    assert calls_of(both, params) == 2  # forward and backward
    assert_close(jax.jit(both)(params), jax.jit(in_turn(both))(params), 0)


@pytest.mark.parametrize(("T", "of_features", "picked"), [(96, 1, 2), (130, 1, 1)])
def test_rows_that_are_picked_are_no_work(T, of_features, picked):
    params, xs, _ = given([LSTM, LSTM], T=T, I=300)
    indices = jnp.zeros(xs.shape[:-1], jnp.int32)
    calls = [calls_of(lambda *args: jbptt.stack([LSTM, LSTM], *args), params, x) for x in (xs, indices)]
    assert calls == [of_features, picked]


@pytest.mark.parametrize("wrt", [0, 1, 2])
def test_only_what_is_wanted(wrt):
    layers = [LSTM, GRU]
    args = given(layers)

    def cost(*args):
        return jnp.sum(jnp.sin(jbptt.stack(layers, *args)[1]))

    assert_close(jax.jit(jax.grad(cost, wrt))(*args), jax.jit(jax.grad(cost, (0, 1, 2)))(*args)[wrt], 0)


@pytest.mark.full
def test_transformations():
    """vmap, forward mode, and gradients of gradients, each that of the scan."""
    layers = [LSTM, GRU]
    params, xs, states = given(layers)
    several = jnp.stack([xs, 2 * xs, -xs])

    def cost(params, xs, **options):
        return jnp.sum(jnp.sin(jbptt.stack(layers, params, xs, states, **options)[1]))

    for derived in (
        lambda **options: jax.vmap(jax.grad(lambda xs: cost(params, xs, **options)))(several),
        lambda **options: jax.jvp(lambda xs: cost(params, xs, **options), (xs,), (xs,)),
        lambda **options: jax.jvp(jax.grad(lambda xs: cost(params, xs, **options)), (xs,), (xs,)),
        lambda **options: jax.grad(lambda xs: jnp.sum(jax.grad(lambda xs: cost(params, xs, **options))(xs) ** 2))(xs),
    ):
        assert_close(jax.jit(derived)(), jax.jit(lambda derived=derived: derived(backend="scan"))(), 1e-4)


def test_without_jit():
    layers = [LSTM, LSTM]
    params, xs, states = given(layers)
    assert_close(
        jbptt.stack(layers, params, xs, states), jax.jit(lambda *a: jbptt.stack(layers, *a))(params, xs, states), 0
    )


def test_on_several_devices_it_is_the_scan():
    layers = [LSTM, LSTM]
    params, xs, states = given(layers)
    mesh = mesh_of(2)
    everywhere = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    both = jax.jit(gradients_of(layers, {}))
    assert_close(both(everywhere, xs, states), both(params, xs, states), 1e-4)


def test_bad_input_is_told_as_ever():
    layers = [LSTM, LSTM]
    params, xs, states = given(layers)
    with pytest.raises(ValueError, match=r"params\['U'\]|features"):
        jbptt.stack(layers, [params[0], given(layers, H=32)[0][1]], xs)
    with pytest.raises(ValueError, match="state must"):
        jbptt.stack(layers, params, xs, [states[0], given([GRU])[2][0]])
    with pytest.raises(ValueError, match="lengths"):
        jbptt.stack(layers, params, xs, lengths=jnp.array([T + 1]))


def test_padding_may_be_anything():
    layers, lengths = [LSTM, GRU], jnp.array([101])
    params, xs, states = given(layers)
    clean = gradients_of(layers, {"lengths": lengths})
    dirty = xs.at[101:].set(jnp.nan)
    assert_close(jax.jit(clean)(params, dirty, states), jax.jit(clean)(params, xs, states), 0)
    _, hs = jbptt.stack(layers, params, dirty, states, lengths=lengths)
    assert not np.any(np.asarray(hs)[101:])
