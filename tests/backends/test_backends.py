"""Every backend, over cells, options and transformations: a new one is tested by being listed in `BACKENDS`.

A backend that runs float64 is held to the plain scan to the last digits; one that does not, to what the scan itself
does in float32.
"""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TOLERANCE, full
from recurrences import OPTIONS, Problem, assert_as_good_as_the_scan, assert_bfloat16_is_near, dtype_of, errors

import jbptt
from jbptt.backends.choosing import BACKENDS

every_backend = pytest.mark.parametrize("backend", [backend.name for backend in BACKENDS])
EXACT = (jnp.float64, jnp.float32)
in_bfloat16_too = pytest.mark.parametrize("dtypes", [EXACT, (jnp.bfloat16,)], ids=["exact", "bfloat16"])

VARIANTS = {name: cell for name, cell in jbptt.LSTM_VARIANTS.items() if name != "NP"}
CELLS = {
    "lstm": jbptt.lstm,
    **VARIANTS,
    "one peephole": jbptt.lstm_cell(peepholes="f"),
    "no bias": jbptt.lstm_cell(bias=False),
    "gru": jbptt.gru,
    "gru, no bias": jbptt.gru_cell(bias=False),
    "rnn": jbptt.rnn,
    "rnn_relu": jbptt.rnn_cell(jbptt.relu),
    "rnn_sigmoid": jbptt.rnn_cell(jbptt.sigmoid),
    "irnn": jbptt.irnn,
    "clockwork": jbptt.clockwork,
    "lstm_projected": jbptt.lstm_projected,
}


@every_backend
@pytest.mark.parametrize("options", full(OPTIONS, but=("everything", "mask and everything", "plain")))
@pytest.mark.parametrize("name", full(("V", "gru", "clockwork"), but=("V",)))
def test_gradients_with_every_option(backend, name, options):
    assert_as_good_as_the_scan(backend, Problem(CELLS[name], 7, (5,), 3, 16, OPTIONS[options]))


@every_backend
@pytest.mark.parametrize("name", full(CELLS, but=("gru", "rnn_relu")))
def test_gradients_of_every_cell(backend, name):
    assert_as_good_as_the_scan(backend, Problem(CELLS[name], 9, (3,), 5, 20, OPTIONS["everything"]))


@every_backend
@pytest.mark.parametrize("options", full(OPTIONS, but=("zoneout and everything", "indices and everything")))
@pytest.mark.parametrize("name", full(("V", "gru"), but=("gru",)))
def test_bfloat16_with_every_option(backend, name, options):
    problem = Problem(CELLS[name], 7, (5,), 3, 17, OPTIONS[options])
    dtype_of(backend, problem, (jnp.bfloat16,))
    assert_bfloat16_is_near(backend, problem)


@every_backend
@pytest.mark.parametrize("name", full(CELLS, but=("V",)))
def test_bfloat16_of_every_cell(backend, name):
    problem = Problem(CELLS[name], 9, (3,), 5, 20, OPTIONS["everything"])
    dtype_of(backend, problem, (jnp.bfloat16,))
    assert_bfloat16_is_near(backend, problem)


EDGES = {
    "one": (1, (1,), 1, 1),
    "no batch": (4, (), 3, 17),
    "two axes": (3, (2, 3), 5, 4),
    "no steps": (0, (3,), 2, 5),
    "empty batch": (2, (0,), 3, 4),
    "wide": (2, (40,), 70, 130),
}


@every_backend
@pytest.mark.parametrize("edge", full(EDGES, but=("one", "no steps")))
@pytest.mark.parametrize("name", full(("lstm", "gru", "rnn"), but=("lstm",)))
def test_edge_sizes(backend, name, edge):
    assert_as_good_as_the_scan(backend, Problem(CELLS[name], *EDGES[edge]))


@every_backend
@pytest.mark.parametrize("edge", full(EDGES, but=("one", "wide")))
@pytest.mark.parametrize("name", full(("lstm", "gru", "rnn"), but=("rnn",)))
def test_edge_sizes_in_bfloat16(backend, name, edge):
    assert_bfloat16_is_near(backend, Problem(CELLS[name], *EDGES[edge]))


@pytest.mark.full
@every_backend
@hypothesis.settings(max_examples=5)
@hypothesis.given(
    name=st.sampled_from(["lstm", "V", "CIFG", "gru", "rnn", "gru, no bias"]),
    T=st.integers(1, 9),
    B=st.integers(1, 30),
    I=st.integers(1, 70),
    H=st.integers(1, 140),
    options=st.sampled_from(["plain", "reverse", "lengths", "everything", "mask and everything"]),
    seed=st.integers(0, 1000),
)
def test_any_sizes(backend, name, T, B, I, H, options, seed):
    assert_as_good_as_the_scan(backend, Problem(CELLS[name], T, (B,), I, H, OPTIONS[options], seed))


WANTED = {"params": 0, "xs": 1, "state": 2, "reset state": 3, "params and state": (0, 2)}


@every_backend
@pytest.mark.parametrize("wanted", full(WANTED, but=("params",)))
@pytest.mark.parametrize("checkpoint", [None, 4])
@pytest.mark.parametrize("name", full(("V", "gru"), but=("gru",)))
def test_gradients_of_some_arguments_are_those_of_all(backend, name, checkpoint, wanted):
    """What nobody asks for is not computed, and nothing else changes."""
    problem = Problem(CELLS[name], 6, (4,), 5, 20, OPTIONS["everything"] | {"checkpoint": checkpoint})
    dtype = dtype_of(backend, problem)

    def cost(*args):
        state, hs = problem.forward(*args, backend=backend)
        return jnp.sum(jnp.sin(hs)) + jnp.sum(state.h**2)

    every = jax.jit(jax.grad(cost, (0, 1, 2, 3)))(*problem.arrays(dtype))
    some = jax.jit(jax.grad(cost, WANTED[wanted]))(*problem.arrays(dtype))
    at = WANTED[wanted]
    of_some = tuple(every[n] for n in at) if isinstance(at, tuple) else every[at]
    assert max(errors(some, jax.tree.map(np.asarray, of_some))) <= 10 * np.finfo(dtype).eps


def cost(params, xs, lengths, backend, cell):
    state, hs = jbptt.unroll(cell, params, xs, lengths=lengths, backend=backend)
    return jnp.sum(jnp.sin(hs)) + jnp.sum(state.h**2)


def drawn(cell, dtype):
    """(params, xs [N, T, B, I], lengths [N, B])"""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), cell.init(jax.random.key(0), 3, 18))
    xs = jax.random.normal(jax.random.key(1), (4, 7, 2, 3), dtype)
    return params, xs, jnp.array([[7, 3], [0, 7], [5, 5], [1, 2]])


ALIKE = {jnp.float64: 1e-11, jnp.float32: 2e-6, jnp.bfloat16: TOLERANCE["bfloat16"]}


def assert_alike(backend, derivative, *args, dtype):
    """The derivative through this backend, and through JAX's own of the plain scan."""
    got, expected = (jax.jit(partial(derivative, name))(*args) for name in (backend, "scan"))
    assert max(errors(got, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), expected))) < ALIKE[dtype]


@every_backend
@in_bfloat16_too
@pytest.mark.parametrize("in_axes", full([(None, 0, 0), (0, 0, None), (0, None, None)], but=((None, 0, 0),)), ids=str)
@pytest.mark.parametrize("name", full(("V", "gru, no bias"), but=("gru, no bias",)))
def test_vmap(backend, name, in_axes, dtypes):
    dtype = dtype_of(backend, Problem(CELLS[name], 3, (2,), 3, 18), dtypes)
    params, xs, lengths = drawn(CELLS[name], dtype)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 1.1, leaf * 0.9, leaf]), params)
    args = [many if in_axes[0] == 0 else params, xs if in_axes[1] == 0 else xs[0]]
    args.append(lengths if in_axes[2] == 0 else lengths[0])

    def derivative(backend, *args):
        gradient = jax.value_and_grad(partial(cost, backend=backend, cell=CELLS[name]), (0, 1))
        return jax.vmap(gradient, in_axes)(*args)

    assert_alike(backend, derivative, *args, dtype=dtype)


@every_backend
@in_bfloat16_too
def test_vmap_of_integers(backend, dtypes):
    dtype = dtype_of(backend, Problem(CELLS["gru"], 3, (2,), 3, 18), dtypes)
    params, *_ = drawn(CELLS["gru"], dtype)
    indices = jax.random.randint(jax.random.key(2), (4, 5, 2), 0, len(params["U"]))

    def derivative(backend, params, indices):
        def cost(params, indices):
            return jnp.sum(jnp.sin(jbptt.unroll(CELLS["gru"], params, indices, backend=backend)[1]))

        return jax.vmap(jax.grad(cost), (None, 0))(params, indices)

    assert_alike(backend, derivative, params, indices, dtype=dtype)


@every_backend
@pytest.mark.parametrize("dtypes", full([EXACT, (jnp.bfloat16,)], but=(EXACT,)), ids=["exact", "bfloat16"])
@pytest.mark.parametrize("name", full(("V", "gru"), but=("gru",)))
def test_vmap_of_what_drops_out_stays_and_is_cut(backend, name, dtypes):
    """One mask for all, a mask for each, and parameters of each."""
    dtype = dtype_of(backend, Problem(CELLS[name], 3, (2,), 3, 18), dtypes)
    params, xs, _ = drawn(CELLS[name], dtype)
    options = {"recurrent_dropout": 0.5, "truncate": 3, "zoneout": 0.3}
    keys = jax.random.split(jax.random.key(5), len(xs))

    def derivative(backend, params, xs, key):
        def cost(params, xs):
            return jnp.sum(jnp.sin(jbptt.unroll(CELLS[name], params, xs, key=key, backend=backend, **options)[1]))

        return jax.value_and_grad(cost, (0, 1))(params, xs)

    def derivatives(backend, params, xs):
        many = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(xs)), params)
        return (
            jax.vmap(partial(derivative, backend), (None, 0, None))(params, xs, keys[0]),
            jax.vmap(partial(derivative, backend), (None, 0, 0))(params, xs, keys),
            jax.vmap(partial(derivative, backend), (0, 0, 0))(many, xs, keys),
        )

    assert_alike(backend, derivatives, params, xs, dtype=dtype)


@every_backend
@pytest.mark.parametrize("dtypes", full([EXACT, (jnp.bfloat16,)], but=(EXACT,)), ids=["exact", "bfloat16"])
@pytest.mark.parametrize("name", full(("V", "gru"), but=("gru",)))
def test_second_derivatives_forward_mode_and_vmap_of_vmap(backend, name, dtypes):
    dtype = dtype_of(backend, Problem(CELLS[name], 3, (2,), 3, 18), dtypes)
    params, xs, lengths = drawn(CELLS[name], dtype)

    def squares(backend, params):
        gradient = jax.grad(partial(cost, backend=backend, cell=CELLS[name]))(params, xs[0], lengths[0])
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))

    def derivatives(backend, params):
        forward = partial(cost, xs=xs[0], lengths=lengths[0], backend=backend, cell=CELLS[name])
        of_xs = jax.grad(lambda x: cost(params, x, None, backend, CELLS[name]))
        return (
            jax.grad(partial(squares, backend))(params),
            jax.jvp(forward, (params,), (params,)),
            jax.vmap(jax.vmap(of_xs))(jnp.stack([xs, xs + 1])),
        )

    assert_alike(backend, derivatives, params, dtype=dtype)


@every_backend
@in_bfloat16_too
@pytest.mark.parametrize("name", full(("one peephole", "CIFG", "NOG", "gru, no bias", "rnn_relu"), but=("CIFG",)))
def test_the_two_passes_in_programs_of_their_own(backend, name, dtypes):
    """The residuals of either are good for the other, wherever each was run: an outer scan that JAX differentiates
    without `jit` evaluates the forward by itself, step by step, and compiles the backward."""
    dtype = dtype_of(backend, Problem(CELLS[name], 3, (2,), 3, 18), dtypes)
    params, xs, lengths = drawn(CELLS[name], dtype)
    of_params = partial(cost, xs=xs[0], lengths=lengths[0], backend=backend, cell=CELLS[name])

    def added(params):
        return jax.lax.scan(lambda total, _: (total + of_params(params), None), jnp.zeros((), dtype), None, 2)[0]

    with jax.disable_jit():
        _, vjp = jax.vjp(of_params, params)
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.jit(jax.grad(of_params))(params))
    assert max(errors(vjp(jnp.ones((), dtype))[0], expected)) < ALIKE[dtype]
    assert max(errors(jax.grad(added)(params), jax.tree.map(lambda leaf: 2 * leaf, expected))) < ALIKE[dtype]


@every_backend
@in_bfloat16_too
def test_padding_that_is_no_number(backend, dtypes):
    dtype = dtype_of(backend, Problem(jbptt.lstm, 3, (2,), 3, 18), dtypes)
    params, xs, _ = drawn(jbptt.lstm, dtype)
    xs, lengths = xs[0], jnp.array([7, 3])
    gradient = jax.grad(partial(cost, backend=backend, cell=jbptt.lstm), (0, 1))
    clean, padded = (gradient(params, x, lengths) for x in (xs.at[3:, 1].set(0.0), xs.at[3:, 1].set(jnp.nan)))
    jax.tree.map(np.testing.assert_array_equal, clean, padded)


@every_backend
@in_bfloat16_too
def test_what_stays_is_not_what_the_cell_made_of_infinity(backend, dtypes):
    """With zoneout, of a relu that grows beyond all numbers."""
    cell = jbptt.rnn_cell(jbptt.relu)
    dtype = dtype_of(backend, Problem(cell, 3, (2,), 3, 18), dtypes)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), cell.init(jax.random.key(0), 3, 18))
    xs = jnp.ones((4, 8, 3), dtype).at[1:].set(jnp.inf)
    options = {"zoneout": 0.5, "key": jax.random.key(3)}
    _, hs = jbptt.unroll(cell, params, xs, backend=backend, **options)
    _, expected = jbptt.unroll(cell, params, xs, backend="scan", **options)
    assert jnp.any(jnp.isfinite(expected[1])) and not jnp.all(jnp.isfinite(expected[1]))
    np.testing.assert_array_equal(jnp.isfinite(hs[1]), jnp.isfinite(expected[1]))


def test_every_backend_runs_something():
    """Else all its tests are skipped."""
    for backend in BACKENDS:
        if backend.status().available:
            dtype_of(backend.name, Problem(jbptt.lstm, 3, (2,), 3, 18))
