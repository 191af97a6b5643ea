"""`jbptt.compare` on a user's own pair of functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt.comparison.pair import gradient_errors, leaf_errors

W = jnp.linspace(-1.0, 1.0, 12, dtype=jnp.float32).reshape(4, 3)
X = jnp.linspace(0.5, 2.0, 8, dtype=jnp.float32).reshape(2, 4)


def auto(w, x):
    return jnp.tanh(x @ w)


def own(factor):
    """`auto` with a backward pass by hand, right for a factor of 1."""

    @jax.custom_vjp
    def fn(w, x):
        return auto(w, x)

    def fwd(w, x):
        y = auto(w, x)
        return y, (w, x, y)

    def bwd(residuals, dy):
        w, x, y = residuals
        delta = dy * (1 - y * y)
        return factor * (x.T @ delta), delta @ w.T

    fn.defvjp(fwd, bwd)
    return fn


def test_an_equal_pair():
    report = jbptt.compare(own(1.0), auto, W, X, rounds=3)
    assert set(report.errors) == {"output", "gradient.0", "gradient.1"}
    assert report.max_error <= 1e-12  # float32 arguments, measured in float64
    for cost in (report.manual, report.auto):
        assert 0 < cost.ms_quartiles[0] <= cost.ms <= cost.ms_quartiles[1]
        assert cost.compile_s > 0
        assert cost.temp_bytes >= 0
    assert report.speedup == report.auto.ms / report.manual.ms


def test_a_wrong_gradient_is_found_where_it_is():
    errors = gradient_errors(own(1.001), auto, W, X)
    np.testing.assert_allclose(errors.pop("gradient.0"), 1e-3, rtol=1e-6)
    assert max(errors.values()) <= 1e-12


def test_a_wrong_value_is_found():
    errors = gradient_errors(lambda w, x: 1.5 * auto(w, x), auto, W, X)
    np.testing.assert_allclose(errors["output"], 0.5)


def test_errors_are_measured_in_float64_even_where_x64_is_off():
    with jax.enable_x64(False):
        assert max(gradient_errors(own(1.0), auto, W, X).values()) <= 1e-12
        assert not jax.config.jax_enable_x64
        np.testing.assert_allclose(gradient_errors(own(1 + 1e-10), auto, W, X)["gradient.0"], 1e-10, rtol=1e-3)


def test_pytrees_and_integers():
    """Integer arguments and outputs pass through, undifferentiated."""

    def fn(params, index, x):
        return {"picked": params["w"][index] * x, "index": index + 1}

    params, x = {"w": jnp.arange(3.0), "n": jnp.asarray(2)}, jnp.asarray(4.0)
    errors = jbptt.compare(fn, fn, params, jnp.asarray(1), x, rounds=1).errors
    assert errors == {"output.index": 0, "output.picked": 0, "gradient.0.w": 0, "gradient.2": 0}


def test_nan_and_infinity():
    for bad in (jnp.nan, jnp.inf):
        report = jbptt.compare(lambda w, x, bad=bad: auto(w, x) * bad, auto, W, X, rounds=1)
        assert report.max_error == np.inf
        assert jbptt.compare(auto, lambda w, x, bad=bad: auto(w, x) * bad, W, X, rounds=1).max_error == np.inf


def test_error_of_a_leaf():
    ones, zeros, nan = np.ones(3), np.zeros(3), np.full(3, np.nan)
    assert leaf_errors({"a": ones}, {"a": ones}) == {"a": 0}
    assert leaf_errors(ones * 6, ones * 4) == {"": 0.5}  # relative to the expected
    assert leaf_errors(ones / 4, zeros) == {"": 0.25}  # which has no scale
    assert leaf_errors(nan, nan) == leaf_errors(nan, ones) == leaf_errors(ones, nan) == {"": np.inf}
    assert leaf_errors(np.ones((0, 3)), np.ones((0, 3))) == {"": 0}
    with pytest.raises(ValueError, match="structures differ"):
        leaf_errors({"a": ones}, {"b": ones})
    with pytest.raises(ValueError, match=r"shapes differ at a: \[3\] and \[1\]"):
        leaf_errors({"a": ones}, {"a": ones[:1]})


@pytest.mark.parametrize(
    ("manual", "error", "message"),
    [
        (lambda w, x: (auto(w, x),), ValueError, "output of manual_fn must have the structure"),
        (lambda w, x: auto(w, x)[:1], ValueError, r"output of manual_fn must have shape \[2, 3\], got \[1, 3\]"),
        (lambda w, x: auto(w, x).astype(jnp.bfloat16), TypeError, "output of manual_fn must be float64, got bfloat16"),
    ],
    ids=["structure", "shape", "dtype"],
)
def test_pairs_that_do_not_match(manual, error, message):
    with pytest.raises(error, match=message):
        jbptt.compare(manual, auto, W, X, rounds=1)


def test_no_rounds():
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        jbptt.compare(auto, auto, W, X, rounds=0)


def test_report_reads_as_a_table():
    text = str(jbptt.compare(own(1.0), auto, W, X, rounds=2))
    for word in ("output", "gradient.0", "gradient.1", "time, ms", "compile, s", "temporary bytes", "auto/manual"):
        assert word in text
