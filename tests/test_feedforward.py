"""Activations, losses and layers: exact values, extremes, masks."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, SIZES, assert_close, twins
from hypothesis import given, strategies as st

import jbptt

VJPS = ["manual", "auto"]
both_vjps = pytest.mark.parametrize("vjp", VJPS)
LOSSES = ["mse", "binary_cross_entropy", "softmax_cross_entropy", "softmax_cross_entropy_classes"]
every_loss = pytest.mark.parametrize("name", LOSSES)
ACTIVATIONS = [jbptt.sigmoid, jbptt.tanh, jbptt.relu, jbptt.identity]
COMPILED = [
    jax.jit(jax.value_and_grad(loss)) for loss in (jbptt.mse, jbptt.binary_cross_entropy, jbptt.softmax_cross_entropy)
]
finite = st.floats(-1e4, 1e4, allow_subnormal=False)


def loss_and_gradient(loss, *args, **keywords):
    return jax.jit(jax.value_and_grad(partial(loss, **keywords)))(*args)


@pytest.mark.parametrize("f", ACTIVATIONS, ids=lambda f: f.name)
def test_derivatives_of_activations(f):
    z = jnp.array([-1e4, -30.0, -1.5, -1e-9, -0.0, 0.0, 1e-9, 0.7, 30.0, 1e4])
    a = f(z)
    expected = jax.vmap(jax.grad(f))(z)
    assert_close(f.prime(f.kept(z, a)), expected)
    assert f.prime(f.kept(z.astype(jnp.bfloat16), a.astype(jnp.bfloat16))).dtype == jnp.bfloat16


def test_relu_is_flat_at_0():
    """f′(0) = 0, the same choice as jax.nn.relu's."""
    assert jbptt.relu.prime(jnp.zeros(())) == jax.grad(jax.nn.relu)(0.0) == 0


def test_kept():
    z, a = jnp.ones(3), jnp.zeros(3)
    assert jbptt.tanh.kept(z, a) is a
    assert replace(jbptt.tanh, keeps="input").kept(z, a) is z


def test_activation_that_keeps_its_input():
    """An f′ that a = f(z) does not determine: in a cell and in an mlp."""
    sine = jbptt.Activation("sine", jnp.sin, jnp.cos, keeps="input")
    for name, use in (
        ("rnn", lambda *args, vjp: jbptt.unroll(jbptt.rnn_cell(sine), *args, vjp=vjp)[1]),
        ("mlp", lambda *args, vjp: jbptt.mlp(*args, activation=sine, vjp=vjp)),
    ):
        _, _, args = twins(ROWS_BY_NAME[name])
        manual, auto = (
            jax.jit(jax.grad(lambda args, use=use, vjp=vjp: jnp.sum(jnp.sin(1 + use(*args, vjp=vjp)))))(args)
            for vjp in VJPS
        )
        assert_close(manual, auto)


@both_vjps
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=lambda dtype: dtype.__name__)
def test_binary_cross_entropy_of_extreme_logits(vjp, dtype):
    """C = 1e4 where the output is wholly wrong, 0 where it is right, and the gradient is y − t: ±1 and 0."""
    z, t = jnp.array([1e4, 1e4, -1e4, -1e4], dtype), jnp.array([0, 1, 0, 1], dtype)
    loss, gradient = loss_and_gradient(jbptt.binary_cross_entropy, z, t, reduction="sum", vjp=vjp)
    assert loss == 2e4
    np.testing.assert_array_equal(gradient, np.array([1, 0, 0, -1], dtype))


@both_vjps
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_softmax_cross_entropy_of_extreme_logits(vjp, soft):
    z = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    classes = jnp.array([0, 1])
    targets = jax.nn.one_hot(classes, 3, dtype=z.dtype) if soft else classes
    loss, gradient = loss_and_gradient(jbptt.softmax_cross_entropy, z, targets, reduction="sum", vjp=vjp)
    assert loss == 2e4
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [1, -1, 0]])


TAILS = np.concatenate([np.arange(-100, 101, 4.0), [-17.0, -16.0, 16.0, 17.0, 0.25]])
ROUNDING = {jnp.float32: 1e-6, jnp.bfloat16: 2e-2}
"""Of each number, relative to itself: eight and three units of the dtype's rounding."""
both_dtypes = pytest.mark.parametrize("dtype", ROUNDING, ids=lambda dtype: dtype.__name__)


def costs_and_slopes(loss, z, t, vjp):
    """The cost of every row, and its gradient by its own logits."""

    def each(z, t):
        return jax.value_and_grad(lambda z: loss(z, t, vjp=vjp))(z)

    return [np.asarray(array, np.float64) for array in jax.jit(jax.vmap(each))(z, t)]


def assert_digits(got, expected, dtype):
    """Of every entry; below the dtype's smallest normal numbers nothing is asked."""
    np.testing.assert_allclose(got, expected, rtol=ROUNDING[dtype], atol=1e-37)


@both_vjps
@both_dtypes
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_binary_cross_entropy_keeps_its_digits_in_the_tails(target, dtype, vjp):
    z, t = jnp.array(TAILS, dtype), jnp.full(TAILS.shape, target, dtype)
    costs, slopes = costs_and_slopes(jbptt.binary_cross_entropy, z, t, vjp)
    assert_digits(costs, target * np.logaddexp(0, -TAILS) + (1 - target) * np.logaddexp(0, TAILS), dtype)
    if target != 0.25:  # elsewhere y − t passes 0
        expected = (1 - target) / (1 + np.exp(-TAILS)) - target / (1 + np.exp(TAILS))
        assert_digits(slopes, expected, dtype)


@both_dtypes
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_softmax_cross_entropy_keeps_its_digits_in_the_tails(soft, dtype):
    """Logits (z, 0, 0), whose class is the first: C = log(1 + 2 exp(−z)), ∂C/∂z = −1 / (1 + exp(z) / 2); by hand alone,
    for JAX's derivative of the same cost is y − 1, whose digits are gone."""
    z = jnp.stack([jnp.array(TAILS, dtype), *jnp.zeros((2, TAILS.size), dtype)], axis=-1)
    classes = jnp.zeros(TAILS.size, int)
    t = jax.nn.one_hot(classes, 3, dtype=dtype) if soft else classes
    costs, slopes = costs_and_slopes(jbptt.softmax_cross_entropy, z, t, "manual")
    assert_digits(costs, np.logaddexp(0, np.log(2) - TAILS), dtype)
    not_y = 1 / (1 + np.exp(TAILS) / 2)
    assert_digits(slopes, np.stack([-not_y, not_y / 2, not_y / 2], axis=-1), dtype)


@both_vjps
@both_dtypes
def test_mse_keeps_its_digits(dtype, vjp):
    y = jnp.array(TAILS, dtype)
    costs, slopes = costs_and_slopes(jbptt.mse, y, jnp.full_like(y, 0.5), vjp)
    assert_digits(costs, (TAILS - 0.5) ** 2 / 2, dtype)
    assert_digits(slopes, TAILS - 0.5, dtype)


EXACT = {  # a and f′ at TAILS
    "sigmoid": (1 / (1 + np.exp(-TAILS)), np.exp(-abs(TAILS)) / (1 + np.exp(-abs(TAILS))) ** 2),
    "tanh": (np.tanh(TAILS), 1 / np.cosh(TAILS) ** 2),
    "relu": (np.maximum(TAILS, 0), TAILS > 0),
    "identity": (TAILS, np.ones_like(TAILS)),
}


@both_dtypes
@pytest.mark.parametrize("name", EXACT)
def test_activations_keep_their_digits_in_the_tails(name, dtype):
    """f′ is stated in a, so that it has the digits that a has, as JAX's: where a rounds to ±1 it is right to a few
    units of rounding of 1 (XLA's tanh is two off there, which doubles); where a goes to 0, to its own last digits."""
    f, (a, prime) = getattr(jbptt, name), EXACT[name]
    z = jnp.array(TAILS, dtype)
    assert_digits(np.asarray(f(z), np.float64), a, dtype)
    got = np.asarray(f.prime(f(z)), np.float64)
    np.testing.assert_allclose(got, prime, atol=4 * float(jnp.finfo(dtype).eps))
    small = np.abs(a) < 0.5
    assert_digits(got[small], prime[small].astype(float), dtype)


@both_vjps
def test_what_has_probability_0_costs_nothing_however_impossible_it_is(vjp):
    z, t = jnp.array([[-jnp.inf, 0.0, 1.0]]), jnp.array([[0.0, 0.25, 0.75]])
    loss, (dz, dt) = jax.value_and_grad(partial(jbptt.softmax_cross_entropy, vjp=vjp), (0, 1))(z, t)
    without, (dz_without, dt_without) = jax.value_and_grad(jbptt.softmax_cross_entropy, (0, 1))(z[:, 1:], t[:, 1:])
    np.testing.assert_allclose([loss, *dz[0], *dt[0]], [without, 0, *dz_without[0], 0, *dt_without[0]], rtol=1e-12)
    loss, gradient = loss_and_gradient(jbptt.binary_cross_entropy, z[0, :1], jnp.zeros(1), vjp=vjp)
    assert loss == 0 and gradient == 0


@both_vjps
def test_second_derivatives_where_several_logits_are_the_largest(vjp):
    """∂²C/∂z² = diag(y) − y yᵀ."""
    hessian = jax.hessian(lambda z: jbptt.softmax_cross_entropy(z, jnp.array(1), vjp=vjp))(jnp.zeros(3))
    np.testing.assert_allclose(hessian, np.eye(3) / 3 - 1 / 9, atol=1e-15)


@given(z=st.lists(finite, min_size=3, max_size=3), t=st.floats(0, 1, allow_subnormal=False))
def test_losses_are_finite_whatever_the_logits(z, t):
    z, t = jnp.array(z), jnp.array([t, 1 - t, 0.0])
    for loss in COMPILED:
        value, gradient = loss(z, t)
        assert value >= -1e-12
        assert jnp.all(jnp.isfinite(gradient))


@both_vjps
def test_gradient_is_y_minus_t(vjp):
    _, _, (z, t, _) = twins(ROWS_BY_NAME["softmax_cross_entropy"])
    t = t / jnp.sum(t, axis=-1, keepdims=True)
    for loss, y in (
        (jbptt.mse, z),
        (jbptt.binary_cross_entropy, jax.nn.sigmoid(z)),
        (jbptt.softmax_cross_entropy, jax.nn.softmax(z)),
    ):
        assert_close(loss_and_gradient(loss, z, t, reduction="sum", vjp=vjp)[1], y - t)


@both_vjps
@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_is_masked_does_not_exist(name, reduction, vjp):
    """NaN in masked outputs, targets: the loss and every gradient are those of the rest alone, and 0 there."""
    _, _, (y, t, weights) = twins(ROWS_BY_NAME[name])
    loss = getattr(jbptt, name.removesuffix("_classes"))
    there = jnp.arange(SIZES.B) != 1  # the second example is padding
    weights = jnp.ones_like(weights)
    mask = jnp.broadcast_to(jnp.expand_dims(there, (0, *range(2, weights.ndim))), weights.shape)
    row = jnp.expand_dims(there, (0, 2))
    bad_y = jnp.where(jnp.broadcast_to(row, y.shape), y, jnp.nan)
    integer = jnp.issubdtype(t.dtype, jnp.integer)
    bad_t = t if integer else jnp.where(jnp.broadcast_to(row, t.shape), t, jnp.nan)

    def run(y, t, weights):
        return loss(y, t, weights, reduction=reduction, vjp=vjp)

    got, (dy, dweights) = jax.jit(jax.value_and_grad(run, argnums=(0, 2)))(bad_y, bad_t, mask.astype(y.dtype))
    expected, dy_alone = jax.jit(jax.value_and_grad(run))(y[:, there], t[:, there], weights[:, there])
    assert_close(got, expected)
    assert_close(dy[:, there], dy_alone)
    assert jnp.all(dy[:, ~there] == 0)
    assert jnp.all(jnp.isfinite(dweights))
    assert_close(run(bad_y, bad_t, mask), expected)  # bool weights are a mask
    if not integer:
        assert jnp.all(jnp.isfinite(jax.jit(jax.grad(run, argnums=1))(bad_y, bad_t, mask.astype(y.dtype))))


@both_vjps
@every_loss
def test_all_weights_zero(name, vjp):
    _, _, (y, t, weights) = twins(ROWS_BY_NAME[name])
    loss = getattr(jbptt, name.removesuffix("_classes"))
    for reduction in ("mean", "sum"):
        value, gradient = loss_and_gradient(loss, y * jnp.nan, t, weights * 0, reduction=reduction, vjp=vjp)
        assert value == 0
        assert jnp.all(gradient == 0)


@both_vjps
def test_weights_broadcast(vjp):
    _, _, (y, t, _) = twins(ROWS_BY_NAME["mse"])
    weights = jnp.arange(1.0, SIZES.O + 1)
    whole = jnp.broadcast_to(weights, y.shape)
    assert_close(jbptt.mse(y, t, weights, vjp=vjp), jbptt.mse(y, t, whole, vjp=vjp))
    summed = jax.grad(lambda w: jbptt.mse(y, t, w, vjp=vjp))(weights)
    assert_close(summed, jax.grad(lambda w: jbptt.mse(y, t, w, vjp=vjp))(whole).sum((0, 1)))


@both_vjps
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int16, jnp.int32, jnp.uint32, jnp.int64])
def test_classes_of_every_integer_type_are_distributions(dtype, vjp):
    """K = 256 does not fit the 8-bit types in which a byte's class does."""
    z = jax.random.normal(jax.random.key(0), (4, 256))
    classes = jnp.array([0, 1, 100, 127]).astype(dtype)
    one_hot = jax.nn.one_hot(classes.astype(jnp.int32), 256, dtype=z.dtype)
    got, expected = (loss_and_gradient(jbptt.softmax_cross_entropy, z, t, vjp=vjp) for t in (classes, one_hot))
    assert_close(got, expected)
    constant = loss_and_gradient(lambda z: jbptt.softmax_cross_entropy(z, classes, vjp=vjp), z)
    assert_close(constant, expected)


@both_vjps
def test_class_out_of_range_under_jit_is_nan(vjp):
    loss = jax.jit(lambda z, t: jbptt.softmax_cross_entropy(z, t, vjp=vjp))
    for wrong in (-1, 3):
        assert jnp.isnan(loss(jnp.zeros((2, 3)), jnp.array([0, wrong])))
