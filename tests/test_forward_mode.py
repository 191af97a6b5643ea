"""Forward mode through what is differentiated by hand: `jax.jvp` and all that is made of it, against the auto path."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    ROWS_BY_NAME,
    SIZES,
    assert_close,
    floats,
    twins,
)
from jax import lax

import jbptt
from jbptt.autodiff import Residuals
from jbptt.backends.protocol import differentiable
from jbptt.backends.scan import SCAN
from jbptt.cells.rule import Consts
from jbptt.recurrence.inputs import Inputs, Spec

NAMES = [
    "mse",
    "softmax_cross_entropy",
    "dense",
    "dense_softmax_cross_entropy",
    "mlp",
    "lstm",
    "clockwork",
    "reverse_lengths_resets_truncate",
    "checkpoint_lengths_resets",
    "dropout_zoneout_lengths_resets",
    "bahdanau",
    "luong_general",
    "scan",
    "siso",
    "mimo",
]
"""Every hand-derived function and option, integers in the state too; nothing in forward mode knows a cell."""
SMALL = SIZES._replace(T=3, B=2, H=4)


def of_floats(fn, args):
    """(fn of the floating point leaves of args alone, to their results', those leaves)."""
    leaves, structure = jax.tree.flatten(args)
    moving = [n for n, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def run(values):
        every = list(leaves)
        for n, value in zip(moving, values, strict=True):
            every[n] = value
        return floats(fn(*jax.tree.unflatten(structure, every)))

    return run, [leaves[n] for n in moving]


def random_like(arrays, seed):
    draw = np.random.default_rng(seed)
    return [jnp.asarray(draw.standard_normal(array.shape), array.dtype) for array in arrays]


def inner(xs, ys):
    return sum(jnp.vdot(x, y) for x, y in zip(xs, ys, strict=True))


def curved(run):
    """A cost whose second derivative by what `run` gives is not 0."""
    return lambda values: sum(
        jnp.sum(jnp.sin(1.3 * out + jnp.linspace(0.0, 1.0, out.size).reshape(out.shape))) for out in run(values)
    )


def most_used_products(run, values):
    tangents = random_like(values, 1)
    return {
        "jvp": jax.jvp(run, (values,), (tangents,)),
        "forward over reverse": jax.jvp(jax.grad(curved(run)), (values,), (tangents,))[1],
    }


def other_products(run, values):
    tangents = random_like(values, 1)
    cost = curved(run)

    def directional(values):
        return jax.jvp(cost, (values,), (tangents,))[1]

    def vmapped_directional(values):
        return jax.vmap(lambda t: jax.jvp(cost, (values,), (t,))[1])([jnp.stack([t, 2 * t]) for t in tangents])

    def gauss_newton(values):
        _, vjp = jax.vjp(run, values)
        return vjp(jax.jvp(run, (values,), (tangents,))[1])

    return {
        "reverse over forward": jax.grad(directional)(values),
        "reverse over reverse": jax.grad(lambda values: inner(jax.grad(cost)(values), tangents))(values),
        "forward over forward": jax.jvp(directional, (values,), (tangents,))[1],
        "Gauss-Newton": gauss_newton(values),
        "linearize": jax.linearize(run, values)[1](tangents),
        "vmap of jvp": jax.vmap(lambda t: jax.jvp(run, (values,), (t,))[1])([jnp.stack([t, 2 * t]) for t in tangents]),
        "jvp of vmap": jax.jvp(
            jax.vmap(lambda first: run([first, *values[1:]])),
            (jnp.stack([values[0], 2 * values[0]]),),
            (jnp.stack([tangents[0], tangents[0]]),),
        )[1],
        "forward over vmapped forward": jax.jvp(vmapped_directional, (values,), (tangents,))[1],
        "reverse over vmapped forward": jax.grad(lambda values: jnp.sum(vmapped_directional(values) ** 2))(values),
        "of jax.checkpoint": jax.jvp(jax.grad(jax.checkpoint(cost)), (values,), (tangents,))[1],
    }


@pytest.mark.parametrize("name", NAMES)
def test_products_with_a_jacobian_and_a_hessian(name):
    assert_products_match(most_used_products, ROWS_BY_NAME[name])


@pytest.mark.parametrize("name", ["lstm", "scan", "mlp", "softmax_cross_entropy"])
def test_products_made_in_every_other_way(name):
    assert_products_match(other_products, ROWS_BY_NAME[name])


def assert_products_match(products, row):
    manual, auto, args = twins(row, SMALL)
    (manual, values), (auto, _) = of_floats(manual, args), of_floats(auto, args)
    got, expected = (jax.jit(partial(products, run))(values) for run in (manual, auto))
    assert_close(got, expected)


@pytest.mark.parametrize("name", ["lstm", "checkpoint", "scan"])
def test_without_jit(name):
    manual, auto, args = twins(ROWS_BY_NAME[name], SMALL)
    (manual, values), (auto, _) = of_floats(manual, args), of_floats(auto, args)
    tangents = random_like(values, 2)
    assert_close(jax.jvp(manual, (values,), (tangents,)), jax.jvp(auto, (values,), (tangents,)))


def twice(first, second):
    return lambda fn: second(first(fn))


FIRST = (jax.jacfwd, jax.jacrev)
SECOND = {f"{b.__name__} of {a.__name__}": twice(a, b) for a in FIRST for b in FIRST}
MATRICES = {matrix.__name__: matrix for matrix in FIRST} | SECOND


@pytest.mark.parametrize("name", MATRICES)
def test_whole_matrices(name):
    """By b of a GRU: the Jacobian of every h, and the Hessian of a cost."""
    derivative = MATRICES[name]
    manual, auto, (params, *others) = twins(ROWS_BY_NAME["gru"], SMALL)

    def matrix(fn):
        def run(b):
            hs = fn(params | {"b": b}, *others)[1]
            return curved(lambda values: values)([hs]) if name in SECOND else hs

        return jax.jit(derivative(run))(params["b"])

    assert_close(matrix(manual), matrix(auto))


def test_inside_another_scan():
    manual, auto, (params, xs, state) = twins(ROWS_BY_NAME["lstm"], SMALL)

    def hessian_product(fn):
        def cost(params):
            _, hs = lax.scan(lambda state, xs: fn(params, xs, state), state, jnp.stack([xs, 2 * xs]))
            return jnp.sum(hs**3)

        return jax.jit(lambda params: jax.jvp(jax.grad(cost), (params,), (params,))[1])(params)

    assert_close(hessian_product(manual), hessian_product(auto))


def test_of_the_parameters_alone_nothing_else_moves():
    manual, auto, (params, xs, state) = twins(ROWS_BY_NAME["gru"])

    def derivative(fn):
        return jax.jvp(lambda params: fn(params, xs, state)[1], (params,), (params,))[1]

    assert_close(derivative(manual), derivative(auto))


def adjoint_error(fn, args):
    """|⟨Jv, u⟩ − ⟨v, Jᵀu⟩| over the first: the forward half is JAX's, the backward half ours."""
    run, values = of_floats(fn, args)

    @jax.jit
    def error(values):
        v = random_like(values, 3)
        outs, Jv = jax.jvp(run, (values,), (v,))
        u = random_like(outs, 4)
        (JTu,) = jax.vjp(run, values)[1](u)
        return abs(inner(Jv, u) - inner(v, JTu)) / abs(inner(Jv, u))

    return error(values)


@pytest.mark.parametrize(
    "name", ["lstm", "clockwork", "reverse_lengths_resets_truncate", "mlp", "softmax_cross_entropy"]
)
def test_the_halves_are_each_others_transpose(name):
    manual, _, args = twins(ROWS_BY_NAME[name])
    assert adjoint_error(manual, args) < 1e-12


def test_a_wrong_way_back_is_not_the_transpose():
    def backward(spec, residuals, cotangents):
        return SCAN.backward(spec, residuals, cotangents._replace(hs=cotangents.hs[::-1]))

    manual, _, args = twins(ROWS_BY_NAME["lstm"])
    assert adjoint_error(partial(manual, backend=SCAN._replace(backward=backward)), args) > 1e-3


def test_the_gradient_needs_the_memory_of_a_custom_vjp_alone():
    """But for one [B, H] of zeros."""
    params = jbptt.lstm.init(jax.random.key(0), 16, 32)
    xs, state = jnp.zeros((50, 4, 16), jnp.float32), jbptt.lstm.initial_state(params, (4,))
    spec = Spec(jbptt.lstm.rule)

    def forward(inputs):
        out, saved = SCAN.forward_residuals(spec, inputs)
        return out, Residuals((inputs,), out, saved)

    by_custom_vjp = jax.custom_vjp(partial(SCAN.forward, spec))
    by_custom_vjp.defvjp(forward, lambda residuals, d: (SCAN.backward(spec, residuals, d),))

    def temporaries(run):
        gradient = jax.grad(lambda params, xs: jnp.sum(run(Inputs(Consts(params), state, xs)).hs ** 2), (0, 1))
        return jax.jit(gradient).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    ours = temporaries(partial(differentiable(SCAN), spec, vjp="manual"))
    assert abs(ours - temporaries(by_custom_vjp)) <= 4 * 32 * 4
