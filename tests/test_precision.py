"""What is summed over T·B is summed in float32 at least, and what is not finite is never taken for a match."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt.comparison.pair import leaf_errors
from jbptt.feedforward.layer import bias_gradient, weight_gradient

ROWS = 20_480
"""Far more than bfloat16 can count in ones: its 8 bits stop at 256."""


def test_weight_and_bias_gradients_of_bfloat16_are_summed_in_float32():
    ones = jnp.ones((ROWS // 4, 4, 2), jnp.bfloat16)
    np.testing.assert_array_equal(weight_gradient(ones, ones), jnp.full((2, 2), ROWS, jnp.float32))
    np.testing.assert_array_equal(bias_gradient(ones), jnp.full(2, ROWS, jnp.float32))
    assert weight_gradient(ones, ones).dtype == bias_gradient(ones).dtype == jnp.float32


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_not_finite_matches_nothing(bad):
    one, spoilt = jnp.ones(3), jnp.ones(3).at[1].set(bad)
    assert leaf_errors(spoilt, spoilt) == leaf_errors(spoilt, one) == leaf_errors(one, spoilt) == {"": np.inf}
    assert jbptt.compare(lambda x: x * bad, lambda x: x * bad, one, rounds=1).max_error == np.inf


@pytest.mark.parametrize("vjp", ["manual", "auto"])
@pytest.mark.parametrize("wrong", [-1, 3, 100])
def test_class_out_of_range_under_jit_makes_value_and_gradient_nan(vjp, wrong):
    loss = jax.jit(jax.value_and_grad(lambda z, t: jbptt.softmax_cross_entropy(z, t, vjp=vjp)))
    value, dz = loss(jnp.ones((2, 3)), jnp.asarray([0, wrong]))
    assert np.isnan(value)
    assert np.isnan(dz[1]).all() and np.isfinite(dz[0]).all()


def test_class_out_of_range_that_is_masked_does_not_exist():
    z, weights = jnp.ones((2, 3)), jnp.asarray([1.0, 0.0])
    masked = jbptt.softmax_cross_entropy(z, jnp.asarray([0, -1]), weights)
    assert masked == jbptt.softmax_cross_entropy(z[:1], jnp.asarray([0]))


def test_weights_that_sum_to_zero_have_the_gradient_that_jax_gives():
    y, t, w = jnp.asarray([1.0, 3.0]), jnp.asarray([4.0, 7.0]), jnp.asarray([1.0, -1.0])
    manual, auto = (jax.grad(lambda w, v=v: jbptt.mse(y, t, w, vjp=v))(w) for v in ("manual", "auto"))
    np.testing.assert_allclose(manual, auto, rtol=1e-12)
