"""The output layer and its cross entropy in one: that of the two functions, in little memory."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROWS_BY_NAME, assert_close, mesh_of, twins, users_jit
from jax.sharding import NamedSharding, PartitionSpec

import jbptt

T, B, I, K = 7, 3, 4, 11
DRAWS = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(DRAWS.normal(size=(I, K))), "b": jnp.asarray(DRAWS.normal(size=K))}
X = jnp.asarray(DRAWS.normal(size=(T, B, I)))
TARGETS = jnp.asarray(DRAWS.integers(0, K, (T, B)))
WEIGHTS = jnp.asarray(DRAWS.random((T, B)) * (DRAWS.random((T, B)) > 0.3))


def one_by_one(params, x, targets, weights=None, **options):
    return jbptt.softmax_cross_entropy(jbptt.dense(params, x), targets, weights, **options)


def with_gradients(loss, params, x, weights, targets=TARGETS, **options):
    def cost(params, x, weights):
        return loss(params, x, targets, weights, **options)

    return jax.jit(jax.value_and_grad(cost, (0, 1, 2)))(params, x, weights)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk", [None, 1, 3, T, 100])
def test_chunks_are_the_whole(chunk, reduction):
    expected = with_gradients(one_by_one, PARAMS, X, WEIGHTS, reduction=reduction)
    got = with_gradients(jbptt.dense_softmax_cross_entropy, PARAMS, X, WEIGHTS, reduction=reduction, chunk=chunk)
    assert_close(got, expected)


@pytest.mark.parametrize("vjp", ["manual", "auto"])
def test_masked_rows_do_not_exist(vjp):
    """NaN in x, and classes that there are not, where the weight is 0."""
    loss = partial(jbptt.dense_softmax_cross_entropy, chunk=2, vjp=vjp)
    absent = WEIGHTS == 0
    expected = with_gradients(loss, PARAMS, X, WEIGHTS)
    x, targets = jnp.where(absent[..., None], jnp.nan, X), jnp.where(absent, K + 5, TARGETS)
    got = with_gradients(loss, PARAMS, x, WEIGHTS, targets=targets)
    assert_close(got[0], expected[0], 0)
    assert_close(got[1][:2], expected[1][:2], 0)
    assert not np.any(np.asarray(got[1][1])[np.asarray(absent)])


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 2)])
def test_any_number_of_batch_axes(shape):
    x, targets = jnp.asarray(DRAWS.normal(size=(*shape, I))), jnp.asarray(DRAWS.integers(0, K, shape))
    got, expected = (
        with_gradients(loss, PARAMS, x, jnp.ones(shape), targets=targets, reduction="sum")
        for loss in (jbptt.dense_softmax_cross_entropy, one_by_one)
    )
    assert_close(got, expected)


def test_no_bias_and_no_weights():
    params = {"w": PARAMS["w"]}
    loss = partial(jbptt.dense_softmax_cross_entropy, chunk=2)
    got, expected = (jax.grad(lambda params, f=f: f(params, X, TARGETS))(params) for f in (loss, one_by_one))
    assert_close(got, expected)


def test_under_jit_a_class_out_of_range_is_nan():
    loss = jax.jit(jbptt.dense_softmax_cross_entropy)(PARAMS, X, TARGETS + K)
    assert jnp.isnan(loss)


def test_bfloat16_has_sums_of_float32():
    params, x = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (PARAMS, X))
    loss, (dparams, dx, _) = with_gradients(jbptt.dense_softmax_cross_entropy, params, x, WEIGHTS.astype("bfloat16"))
    assert loss.dtype == dx.dtype == dparams["w"].dtype == dparams["b"].dtype == jnp.bfloat16
    exact, (of_params, of_x, _) = with_gradients(one_by_one, PARAMS, X, WEIGHTS)
    assert_close((loss, dparams, dx), (exact, of_params, of_x), 3e-2)


def memory_of_gradients(loss, rows, K):
    params = {"w": jax.ShapeDtypeStruct((128, K), jnp.float32), "b": jax.ShapeDtypeStruct((K,), jnp.float32)}
    x = jax.ShapeDtypeStruct((rows // 64, 64, 128), jnp.float32)
    targets = jax.ShapeDtypeStruct((rows // 64, 64), jnp.int32)
    step = jax.value_and_grad(lambda params, x, targets: loss(params, x, targets), (0, 1))
    return users_jit(step).lower(params, x, targets).compile().memory_analysis().temp_size_in_bytes


def test_all_logits_are_never_there():
    """50,000 classes at T·B = 4,096: less than 100 MB, where the logits alone are 819."""
    assert memory_of_gradients(jbptt.dense_softmax_cross_entropy, 4096, 50_000) < 100e6
    assert memory_of_gradients(one_by_one, 4096, 50_000) > 819e6  # what the test measures, it finds where it is


def test_only_what_is_wanted_is_worked_out():
    """Products: the logits', and one for each gradient that is asked for."""

    def products(argnums):
        def cost(params, x):
            return jbptt.dense_softmax_cross_entropy(params, x, TARGETS, chunk=T)

        program = jax.jit(jax.grad(cost, argnums)).lower(PARAMS, X).compile().as_text()
        return len(re.findall(r" dot\(", program))

    assert [products(argnums) for argnums in ((0, 1), 0, 1)] == [3, 2, 2]


def test_a_sharded_batch_stays_where_it_is():
    mesh = mesh_of(2)
    x = jax.device_put(jnp.concatenate([X, X], 1), NamedSharding(mesh, PartitionSpec(None, "batch")))
    targets = jax.device_put(jnp.concatenate([TARGETS] * 2, 1), NamedSharding(mesh, PartitionSpec(None, "batch")))

    def loss(params, x):
        return jbptt.dense_softmax_cross_entropy(params, x, targets, chunk=3)

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    loss_of_two, (dparams, dx) = step(PARAMS, x)
    assert dx.sharding.is_equivalent_to(x.sharding, 3)
    expected = with_gradients(one_by_one, PARAMS, X, jnp.ones((T, B)))
    assert_close((loss_of_two, dparams, dx[:, :B] * 2), (expected[0], *expected[1][:2]))
    assert "all-gather" not in step.lower(PARAMS, x).compile().as_text()


def test_second_derivatives_through_chunks():
    manual, auto, (params, x, targets, weights) = twins(ROWS_BY_NAME["dense_softmax_cross_entropy"])

    def curvature(loss):
        gradient = jax.grad(lambda params: loss(params, x, targets, weights))
        return jax.jvp(gradient, (params,), (params,))[1]

    assert_close(curvature(manual), curvature(auto))
