"""`jbptt plot gradients`: norms of the Jacobians through time."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt as library
from jbptt.app.gradient_reach import norms

SMALL = ["--length", 30, "--hidden", 8, "--seeds", 2]
T, I, H = 5, 2, 3


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("cell", "field"), [(library.rnn, "h"), (library.lstm, "c"), (library.gru, "h"), (library.slstm, "c")]
)
def test_norms_are_those_of_forward_modes_jacobians(cell, field):
    params = cell.init(jax.random.key(1), I, 4 if cell is library.slstm else H, jnp.float64)
    xs = jax.random.normal(jax.random.key(2), (T, I), jnp.float64)
    expected = []
    for t in reversed(range(T)):
        before, _ = library.unroll(cell, params, xs[:t])

        def last(h, before=before, t=t):
            state, _ = library.unroll(cell, params, xs[t:], before._replace(h=h), vjp="auto")
            return getattr(state, field)

        expected.append(np.linalg.svd(jax.jacfwd(last)(before.h), compute_uv=False).max())
    assert len(set(expected)) == T
    np.testing.assert_allclose(norms(cell, params, xs), expected, rtol=1e-12)


def test_an_orthogonal_product_without_its_activation_loses_nothing():
    linear = library.rnn_cell(library.identity)
    params = linear.init(jax.random.key(0), I, H, jnp.float64)
    halved = params | {"W": params["W"] / 2}
    xs = jnp.ones((T, I), jnp.float64)
    np.testing.assert_allclose(norms(linear, params, xs), np.ones(T), rtol=1e-12)
    np.testing.assert_allclose(norms(linear, halved, xs), 0.5 ** np.arange(1, T + 1), rtol=1e-12)


def test_picture_and_figures(jbptt, here):
    status, out, _ = jbptt("plot", "gradients", *SMALL, "--out", "reach.png")
    assert (status, out.split()) == (0, ["reach.png", "reach.csv"])
    assert (here / "reach.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((here / "reach.csv").read_text().splitlines()))
    curves = dict.fromkeys((row["cell"], row["setting"], row["field"]) for row in rows)
    assert len(curves) == 9 and len(rows) == 9 * 30
    assert {cell: field for cell, _, field in curves} == {"rnn": "h", "lstm": "c", "gru": "h"}
    assert all(float(row["least"]) <= float(row["median"]) <= float(row["most"]) for row in rows)
    last = {(row["cell"], row["setting"]): float(row["median"]) for row in rows if row["steps_back"] == "30"}
    radii = [last["rnn", f"spectral radius {radius}"] for radius in ("0.5", "0.9", "1", "1.2")]
    biases = [last["lstm", f"forget bias {bias}"] for bias in ("-1", "0", "1", "3")]
    assert radii == sorted(radii) and biases == sorted(biases)
    assert radii[0] < 0.5**30 < radii[3]
    assert last["lstm", "forget bias 3"] > 0.1 > last["rnn", "spectral radius 1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--length", 0], "--length"),
        (["--seeds", "few"], "--seeds"),
        (["--hidden", 10**6], "--hidden 1000000 need more than this machine's"),
        (["--out", "picture.jpg"], "--out picture.jpg must be a .png file"),
        (["--out", "nowhere/picture.png"], "--out nowhere/picture.png cannot be written: there is no folder nowhere"),
    ],
)
def test_bad_input(fails, here, arguments, says):
    assert says in fails("plot", "gradients", *arguments)
    assert not list(here.iterdir())
