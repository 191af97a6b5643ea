"""`jbptt.scan` is `lax.scan`: a zoo of bodies, values, gradients, errors; and the gradients wait for the end."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, assert_gradients_match
from jax import lax
from programs import equations

import jbptt
from jbptt.deferred.scan import scan

T, B, I, H = 5, 3, 16, 24
KEYS = jax.random.split(jax.random.key(0), 6)
W, V = (jax.random.normal(key, (H, H)) / 5 for key in KEYS[:2])
U, b = jax.random.normal(KEYS[2], (I, H)), jax.random.normal(KEYS[3], (H,))
XS, H0 = jax.random.normal(KEYS[4], (T, B, I)), jax.random.normal(KEYS[5], (B, H))
PARAMS = {"W": W, "V": V, "U": U, "b": b}


def shifted(z, b):
    return z + jnp.broadcast_to(b, z.shape)


def rnn(p, h, x):
    h = jnp.tanh(shifted(x @ p["U"] + h @ p["W"], p["b"]))
    return h, h


def no_weights(p, h, x):
    h = jnp.tanh(h + x.sum(-1, keepdims=True) * jnp.ones_like(h))
    return h, (h, x)


def weight_used_twice(p, h, x):
    h = jnp.tanh(x @ p["U"] + jnp.tanh(h @ p["W"]) @ p["W"])
    return h, None


def weight_used_elementwise_too(p, h, x):
    h = jnp.tanh(x @ p["U"] + h @ p["W"]) * jnp.broadcast_to(jnp.sum(p["W"] ** 2, 0), h.shape)
    return h, h


def transposed_and_cast(p, h, x):
    W = (p["W"] * 2).astype(jnp.float32).T.astype(jnp.float64)
    return jnp.tanh(h @ W + x @ p["U"]), jnp.einsum("ij,bj->bi", p["V"], h)


def weight_on_the_left(p, h, x):
    h = jnp.tanh(lax.dot_general(p["W"], h, (((0,), (1,)), ((), ()))).T + x @ p["U"])
    return h, lax.dot_general(p["V"], h, (((1,), (1,)), ((), ())))


def two_axes_contracted(p, h, x):
    W4 = p["W"].reshape(4, 6, H)
    h = jnp.tanh(jnp.einsum("bcd,cdk->bk", h.reshape(B, 4, 6), W4) + x @ p["U"])
    return h, h


def jitted_inside(p, h, x):
    h = jax.jit(lambda W, h: jnp.tanh(jax.jit(jnp.dot)(h, W)))(p["W"], h)
    return jax.nn.relu(h), jax.nn.sigmoid(h)


def scan_inside(p, h, x):
    h, _ = lax.scan(lambda h, _: (jnp.tanh(h @ p["W"]), None), h + x @ p["U"], None, length=2)
    return h, h


def cond_inside(p, h, x):
    h = lax.cond(x[0, 0] > 0, lambda h: jnp.tanh(h @ p["W"]), lambda h: h, h)
    return h + x @ p["U"], h


def integer_carry(p, carry, x):
    count, h = carry
    h = jnp.tanh(h @ p["W"] + x @ p["U"]) * count.astype(h.dtype)
    return (count + 1, h), count


def none_carry(p, carry, x):
    nothing, h = carry
    return (nothing, jnp.tanh(h @ p["W"] + x @ p["U"])), None


def no_xs(p, h, x):
    assert x is None
    return jnp.tanh(h @ p["W"]), h


def an_unrolled_cell_inside(p, h, x):
    cell_params = {"U": p["U"], "W": p["W"], "b": p["b"]}
    state, _ = jbptt.unroll(jbptt.rnn, cell_params, x[None], jbptt.RNNState(h))
    return state.h, state.h @ p["V"]


def random_inside(p, h, x):
    kept = jax.random.bernoulli(jax.random.key(3), 0.5, h.shape)
    return jnp.where(kept, jnp.tanh(h @ p["W"] + x @ p["U"]), h), h


ZOO = {
    body.__name__: body
    for body in (
        rnn,
        no_weights,
        weight_used_twice,
        weight_used_elementwise_too,
        transposed_and_cast,
        weight_on_the_left,
        two_axes_contracted,
        jitted_inside,
        scan_inside,
        cond_inside,
        integer_carry,
        none_carry,
        no_xs,
        an_unrolled_cell_inside,
        random_inside,
    )
}


def both(name, **options):
    """(ours, lax.scan's, arguments) of a body."""
    init = {"integer_carry": (jnp.int32(1), H0), "none_carry": (None, H0)}.get(name, H0)
    xs = None if name == "no_xs" else XS
    options |= {"length": T} if name == "no_xs" else {}

    def of(scan):
        return lambda p, init, xs: scan(partial(ZOO[name], p), init, xs, **options)

    return of(jbptt.scan), of(lax.scan), (PARAMS, init, xs)


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name):
    tolerance = 1e-6 if name == "transposed_and_cast" else 1e-12  # through float32
    ours, theirs, args = both(name)
    assert_gradients_match(ours, theirs, args, tolerance=tolerance)


@pytest.mark.parametrize("options", [{"reverse": True}, {"unroll": 2}, {"length": T}], ids=str)
def test_options(options):
    ours, theirs, args = both("rnn", **options)
    assert_gradients_match(ours, theirs, args)


@pytest.mark.parametrize("transform", ["vmap", "checkpoint", "scan", "twice"])
def test_transforms(transform):
    ours, theirs, (params, h, xs) = both("rnn")

    def gradient(run):
        return lambda p, h, xs: jax.grad(lambda p: jnp.sum(run(p, h, xs)[1] ** 2))(p)

    def over_segments(run):
        return lambda p, h, xs: lax.scan(partial(run, p), h, jnp.stack([xs, xs[::-1]]))

    transformed, h = {
        "vmap": (partial(jax.vmap, in_axes=(None, 0, None)), jnp.stack([h, 2 * h])),
        "checkpoint": (jax.checkpoint, h),
        "scan": (over_segments, h),
        "twice": (gradient, h),
    }[transform]
    assert_gradients_match(transformed(ours), transformed(theirs), (params, h, xs))


def test_no_steps():
    ours, theirs, (params, h, xs) = both("rnn")
    assert_gradients_match(ours, theirs, (params, h, xs[:0]))


def carried(run, args):
    """The shapes in the carries of the scans back in time."""
    jaxpr = jax.make_jaxpr(jax.grad(lambda p: jnp.sum(run(p, *args[1:])[0] ** 2)))(args[0]).jaxpr
    shapes = set()
    for equation in equations(jaxpr):
        if equation.primitive.name == "scan" and equation.params["reverse"]:
            of_step = equation.params["jaxpr"].out_avals
            of_scan = [variable.aval for variable in equation.outvars]
            shapes |= {a.shape for a, b in zip(of_scan, of_step, strict=True) if a.shape == b.shape}
    return shapes


def test_large_weights_gradients_are_not_carried_and_small_ones_are():
    ours, theirs, args = both("rnn")
    assert {(H, H), (I, H)} <= carried(theirs, args)
    assert not {(H, H), (I, H)} & carried(ours, args)
    many_rows = args[0], jnp.tile(H0, (100, 1)), jnp.tile(XS, (1, 100, 1))
    assert {(H, H), (I, H)} <= carried(ours, many_rows)


def test_where_nothing_is_worth_deferring_it_is_lax_scan():
    h, _ = jax.jvp(lambda h: scan(partial(no_weights, PARAMS), h, XS)[0], (H0,), (H0,))
    assert h.shape == H0.shape


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda scan: scan(lambda h, x: (h, x), H0), ValueError),
        (lambda scan: scan(lambda h, x: (h[0], x), H0, XS), TypeError),
        (lambda scan: scan(lambda h, x: h, H0, XS), TypeError),
        (lambda scan: scan(lambda h, x: (h, x), H0, XS, length=T + 1), ValueError),
    ],
)
def test_errors_are_those_of_lax_scan(call, error):
    messages = []
    for run in (jbptt.scan, lax.scan):
        with pytest.raises(error) as caught:
            call(run)
        messages.append(str(caught.value).splitlines()[0].split(" at ")[0])
    assert messages[0] == messages[1]


def test_a_library_cell_closed_over_its_weights():
    eqx = pytest.importorskip("equinox", reason="a peer of the extra 'benchmarks'")
    with jax.numpy_rank_promotion("allow"):
        cell = eqx.nn.GRUCell(I, H, key=KEYS[0], dtype=jnp.float64)
        weights, static = eqx.partition(cell, eqx.is_array)

        def run(scan):
            def function(weights, h, xs):
                cell = eqx.combine(weights, static)
                return scan(lambda h, x: (jax.vmap(cell)(x, h),) * 2, h, xs)

            return function

        assert_gradients_match(run(jbptt.scan), run(lax.scan), (weights, H0, XS))
        assert_close(run(jbptt.scan)(weights, H0, XS), run(lax.scan)(weights, H0, XS))
