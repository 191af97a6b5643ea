"""`jbptt.scan` is a drop-in for `lax.scan`: what a user's rule, a Ref, an effect, a weak type do there, they do here.

B batch, H hidden. Where it is to be `lax.scan` itself, the traced programs are compared, and must be the same letter
for letter.
"""

import re
from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TOLERANCE, assert_close
from jax import lax
from jax._src.test_util import count_jit_and_pmap_lowerings
from jax.experimental import checkify
from programs import equations, reverse_carries

import jbptt
from jbptt._jax.programs import inlined, only_scan
from jbptt.deferred.body import Body

T, B, I, H = 4, 2, 6, 8
KEYS = jax.random.split(jax.random.key(0), 4)
W, U = jax.random.normal(KEYS[0], (H, H)) / 3, jax.random.normal(KEYS[1], (I, H)) / 3
XS, H0 = jax.random.normal(KEYS[2], (T, B, I)), jax.random.normal(KEYS[3], (B, H))
SCANS = pytest.mark.parametrize("scan", [jbptt.scan, lax.scan], ids=["jbptt", "lax"])


def rnn(w, h, x):
    h = jnp.tanh(h @ w)
    return h, h


def gradient(scan, step=rnn, h=H0, xs=None, length=T, **options):
    """∂C/∂w as a function of w."""
    return jax.grad(lambda w: jnp.sum(scan(partial(step, w), h, xs, length, **options)[0]))


def is_lax_scan(function, *args):
    """Whether `function(scan, *args)` is the same program with either."""
    ours, theirs = (str(jax.make_jaxpr(partial(function, scan))(*args)) for scan in (jbptt.scan, lax.scan))
    return re.sub("0x[0-9a-f]+", "", ours) == re.sub("0x[0-9a-f]+", "", theirs)  # but for addresses of callbacks


# What lies between a constant and its product.


@jax.custom_vjp
def clipped(w):
    """The identity, whose cotangent is clipped: its way back is not linear."""
    return w


clipped.defvjp(lambda w: (w, None), lambda _, dw: (jnp.clip(dw, -0.1, 0.1),))


@jax.custom_jvp
def doubled(w):
    """The identity, by a rule that a user wrote."""
    return w


doubled.defjvp(lambda primals, tangents: (*primals, 2 * tangents[0]))


def cast_and_back(w, dtype):
    return w.astype(dtype).astype(w.dtype)


DEFERRED_THROUGH = {
    "nothing": lambda w: w,
    "transpose": lambda w: w.T * 0.5 + 0.1,
    "reshape": lambda w: jnp.concatenate([w.reshape(2, -1), -w.reshape(2, -1)])[1:3].reshape(w.shape),
    "tanh": jnp.tanh,
    "square": lambda w: w * w,
    "norm": lambda w: w / jnp.sqrt(jnp.sum(w**2, axis=0, keepdims=True)),
    "product": lambda w: w @ w,
    "mask": lambda w: jnp.where(jax.random.bernoulli(KEYS[0], 0.5, w.shape), w, 0.0),
    "jit": jax.jit(lambda w: jnp.sin(w)),
    "float32": partial(cast_and_back, dtype=jnp.float32),
    "bfloat16": partial(cast_and_back, dtype=jnp.bfloat16),
}
NOT_DEFERRED_THROUGH = {
    "custom_vjp": clipped,
    "linear after custom_vjp": lambda w: clipped(w).T * 2.0,
    "custom_jvp": doubled,
    "reduce_precision": lambda w: lax.reduce_precision(w, 8, 7),
    "float16": partial(cast_and_back, dtype=jnp.float16),
    "cond": lambda w: lax.cond(w[0, 0] > 0, clipped, clipped, w),
    "scan": lambda w: lax.scan(lambda w, _: (clipped(w), None), w, None, length=2)[0],
    "checkpoint": jax.checkpoint(clipped),
    "barrier": lax.optimization_barrier,
}
ROUNDED = {"float32": 1e-6, "bfloat16": 2e-2, "reduce_precision": 2e-2, "float16": 2e-3}
"""Tolerances where a cotangent is rounded."""


def by_way_of(path, w, h, x):
    h = jnp.tanh(h @ path(w))
    return h, h


@pytest.mark.parametrize("name", [*DEFERRED_THROUGH, *NOT_DEFERRED_THROUGH])
def test_between_a_constant_and_its_product(name):
    path = {**DEFERRED_THROUGH, **NOT_DEFERRED_THROUGH}[name]
    ours, theirs = (gradient(scan, partial(by_way_of, path)) for scan in (jbptt.scan, lax.scan))
    assert_close(jax.jit(ours)(W), jax.jit(theirs)(W), ROUNDED.get(name, TOLERANCE["float64"]))
    (carry,) = reverse_carries(jax.make_jaxpr(ours)(W).jaxpr)[:1]
    assert ((H, H) in carry) == (name in NOT_DEFERRED_THROUGH)


@SCANS
def test_a_clipped_gradient_is_clipped_at_every_step(scan):
    """By hand: every step's entries are beyond 0.1."""
    w, h = jnp.array([[0.5, 0.2], [0.1, 0.4]]), jnp.array([1.0, 2.0])
    got = jax.grad(lambda w: jnp.sum(scan(lambda h, _: (h @ clipped(w), None), h, None, length=3)[0]))(w)
    assert_close(got, jnp.full((2, 2), 0.3))


def test_a_constant_that_nobody_can_differentiate_is_not_deferred():
    assert is_lax_scan(lambda scan, h: jax.grad(lambda h: jnp.sum(scan(partial(rnn, W), h, None, T)[0]))(h), H0)
    assert not is_lax_scan(lambda scan, w: gradient(scan)(w), W)


def test_a_weight_that_is_carried_unchanged_is_a_constant():
    def cost(w):
        return jnp.sum(jbptt.scan(lambda c, _: ((jnp.tanh(c[0] @ c[1]), c[1]), None), (H0, w), None, T)[0][0])

    (carry,) = reverse_carries(jax.make_jaxpr(jax.grad(cost))(W).jaxpr)[:1]
    assert (H, H) not in carry


# Types.


@SCANS
def test_a_number_in_the_carry_stays_weakly_typed(scan):
    def body(w, carry, x):
        rate, h = carry
        return (rate * 0.5, jnp.tanh(h @ w)), rate * x

    (rate, _), ys = jax.jit(lambda w: scan(partial(body, w), (1.0, H0), jnp.ones((T, 2), jnp.bfloat16)))(W)
    assert ys.dtype == jnp.bfloat16
    assert rate.weak_type


@SCANS
def test_a_number_becomes_what_the_body_makes_of_it(scan):
    (total, _), _ = scan(lambda c, _: ((c[0] + jnp.sum(c[1]), c[1] @ W), None), (0.0, H0), None, T)
    assert (total.dtype, total.weak_type) == (jnp.float64, False)


def test_a_weakly_typed_weight_has_a_weakly_typed_gradient():
    w = jnp.full((H, H), 0.1)
    ours, theirs = gradient(jbptt.scan)(w), gradient(lax.scan)(w)
    assert ours.weak_type == theirs.weak_type
    assert_close(ours, theirs)


@pytest.mark.parametrize("precision", [lax.Precision.HIGHEST, "BF16_BF16_F32_X3", ("default", "high")], ids=str)
def test_precision_is_kept_in_the_weight_gradient(precision):
    def body(w, h, _):
        return jnp.dot(h, w, precision=precision), None

    def told(scan):
        jaxpr = jax.make_jaxpr(gradient(scan, body, jnp.ones((B, H), jnp.float32)))(W.astype(jnp.float32)).jaxpr
        dots = [e for e in equations(jaxpr) if e.primitive.name == "dot_general"]
        return {(str(e.params["precision"]), e.params["preferred_element_type"]) for e in dots}

    if isinstance(precision, tuple):  # δ is the right operand of one, and the left one of the other
        assert {p for p, _ in told(jbptt.scan)} == {str((lax.Precision.DEFAULT, lax.Precision.HIGH)), swapped()}
    else:
        assert told(jbptt.scan) == told(lax.scan)


def swapped():
    return str((lax.Precision.HIGH, lax.Precision.DEFAULT))


# lax.scan itself: Refs, effects, no jit.


def ref_closed_over(scan, w):
    ref = jax.new_ref(jnp.zeros((B, H)))

    def body(h, _):
        ref[...] += h
        return h @ w, None

    scan(body, H0, None, length=T)
    return ref[...]


def ref_in_xs(scan, w):
    ref = jax.new_ref(jnp.zeros((T, B, H)))

    def body(h, x):
        x[...] = h
        return h @ w, None

    scan(body, H0, ref)
    return ref[...]


def ref_in_the_body(scan, w):
    def body(h, _):
        ref = jax.new_ref(h)
        ref[...] = ref[...] @ w
        return ref[...], None

    return scan(body, H0, None, length=T)[0]


@pytest.mark.parametrize("function", [ref_closed_over, ref_in_xs, ref_in_the_body])
def test_refs(function):
    hs = [H0]
    for _ in range(T):
        hs.append(hs[-1] @ W)
    expected = {ref_closed_over: sum(hs[:T]), ref_in_xs: jnp.stack(hs[:T]), ref_in_the_body: hs[T]}[function]
    assert_close(jax.jit(partial(function, jbptt.scan))(W), expected)
    assert_close(function(jbptt.scan, W), expected)


@pytest.mark.parametrize("ordered", [False, True])
def test_effects(ordered):
    seen = []

    def body(w, h, _):
        jax.debug.callback(lambda h: seen.append(h), h[0, 0], ordered=ordered)
        return h @ w, None

    def jvp(scan, w):
        return jax.jvp(lambda w: scan(partial(body, w), H0, None, length=T)[0], (w,), (w,))

    jax.jit(partial(jvp, jbptt.scan))(W)
    jax.effects_barrier()
    assert len(seen) == T
    assert is_lax_scan(jvp, W)
    assert is_lax_scan(lambda scan, w: gradient(scan, body)(w), W)


def test_without_jit_the_body_may_branch_on_values():
    xs = jnp.array([1.0, -1.0, 2.0])
    with jax.disable_jit():
        h, _ = jbptt.scan(lambda h, x: (h @ W if x > 0 else h, None), H0, xs)
    assert_close(h, H0 @ W @ W)


# Caching.


def counted(call):
    """How much a second call lowers."""
    jax.block_until_ready(call())
    with count_jit_and_pmap_lowerings() as count:
        jax.block_until_ready(call())
    return count()


def test_a_second_call_compiles_nothing():
    step = partial(rnn, W)
    assert counted(lambda: jbptt.scan(step, H0, None, T)) == 0
    assert counted(lambda: jbptt.scan(partial(rnn, W), H0, None, T)) > 0, "another function each time: it would be seen"


def body_of(step, h=H0, **options):
    traced = jax.make_jaxpr(lambda: lax.scan(step, h, None, T, **options))()
    return Body(only_scan(inlined(traced)))


def test_what_is_made_of_a_body_is_found_again():
    """By whatever jits with it for a static argument."""
    step = partial(rnn, W)
    assert body_of(step) is not body_of(step)
    assert (body_of(step), hash(body_of(step))) == (body_of(step), hash(body_of(step)))
    assert body_of(step) != body_of(step, reverse=True)
    assert body_of(step) != body_of(step, H0[:1])
    assert body_of(step) != body_of(partial(rnn, W))


def test_no_tracer_is_kept():
    with jax.checking_leaks():
        jax.jit(gradient(jbptt.scan))(W)


class Holder:
    """Something whose attribute a body reads."""

    value = 2.0


@SCANS
def test_values_closed_over_are_as_old_as_those_of_lax_scan(scan):
    """JAX traces a function once: what it reads of the world is what it read then, but for arrays of its arguments."""

    def cost(w):
        holder = Holder()

        def body(h, _):
            return jnp.tanh(h @ w * holder.value), None

        first = scan(body, H0, None, T)[0]
        holder.value = 3.0
        return first, scan(body, H0, None, T)[0], scan(lambda h, _: body(h, _), H0, None, T)[0]

    first, again, another = jax.vjp(cost, W)[0]
    assert_close(first, again)
    assert not np.allclose(first, another)


# Other transforms.


def test_linear_transpose():
    def transposed(scan):
        return jax.linear_transpose(lambda h: scan(lambda h, _: (h @ W, None), h, None, T)[0], H0)(H0)

    assert_close(transposed(jbptt.scan), transposed(lax.scan))


def test_linear_transpose_with_weights_that_are_traced():
    def transposed(scan, w):
        return jax.linear_transpose(lambda h: scan(lambda h, _: (h @ w, None), h, None, T)[0], H0)(H0)

    assert_close(jax.jit(partial(transposed, jbptt.scan))(W), transposed(lax.scan, W))


@pytest.mark.parametrize("shape", ["t, 2", "4, b", "t, b"])
def test_symbolic_sizes(shape):
    shape = jax.export.symbolic_shape(f"{shape}, {I}")
    run = jax.jit(gradient_by_xs)
    exported = jax.export.export(run)(jax.ShapeDtypeStruct(U.shape, U.dtype), jax.ShapeDtypeStruct(shape, XS.dtype))
    assert_close(exported.call(U, XS), run(U, XS))


def gradient_by_xs(u, xs):
    def cost(u):
        return jnp.sum(jbptt.scan(lambda h, x: (jnp.tanh(h * 0.5 + x @ u), None), jnp.zeros_like(xs[0] @ u), xs)[0])

    return jax.grad(cost)(u)


@pytest.mark.parametrize("form", [lambda run: run, jax.jit, lambda run: jax.grad(lambda *args: jnp.sum(run(*args)))])
def test_checkify_sees_into_the_body(form):
    def error(scan, index):
        def run(w, table):
            return scan(lambda h, x: (jnp.tanh(h @ w + table[index]), None), H0, None, T)[0]

        table = jnp.ones((3, *H0.shape), H0.dtype)
        with jax.numpy_dtype_promotion("standard"):  # as what checkify makes of an index needs
            return checkify.checkify(form(run), errors=checkify.index_checks)(W, table)[0].get()

    assert "index 7 is out of bounds" in error(lax.scan, jnp.int32(7))
    assert error(jbptt.scan, jnp.int32(7)) == error(lax.scan, jnp.int32(7))
    assert error(jbptt.scan, jnp.int32(1)) is None


# Any body.

PATHS = {
    name: {**DEFERRED_THROUGH, **NOT_DEFERRED_THROUGH}[name] for name in ("nothing", "tanh", "transpose", "custom_vjp")
}
PATHS |= {"custom_jvp": doubled, "float32": DEFERRED_THROUGH["float32"]}
BODIES = st.fixed_dictionaries(
    {
        "path": st.sampled_from(sorted(PATHS)),
        "left": st.booleans(),
        "number": st.sampled_from([None, 1, 1.0, True, "int32", "promoted"]),
        "dtype": st.sampled_from(["float64", "float32", "bfloat16"]),
        "effect": st.sampled_from([None, None, "callback"]),
        "with_xs": st.booleans(),
        "reverse": st.booleans(),
        "unroll": st.sampled_from([1, 2, True]),
    }
)


def drawn(scan, recipe):
    """A function of (w, u, h, xs) that runs the body that a recipe describes."""
    dtype, number = jnp.dtype(recipe["dtype"]), recipe["number"]
    first = {"int32": jnp.int32(1), "promoted": 0}.get(number, number)

    def run(w, u, h, xs):
        def body(carry, x):
            number_now, h = carry
            v = PATHS[recipe["path"]](w)
            z = lax.dot_general(v, h, (((0,), (1,)), ((), ()))).T if recipe["left"] else h @ v
            if recipe["with_xs"]:
                z = z + x @ u
            if isinstance(number, float):
                z, number_now = z * number_now, number_now * 0.5
            elif number == "promoted":
                number_now = number_now + z.sum()
            elif number is not None and number is not True:
                number_now = number_now + 1
            if recipe["effect"]:
                jax.debug.callback(lambda _: None, z[0, 0])
            h = jnp.tanh(z)
            return (number_now, h), {"h": h, "number": number_now}

        options = {"reverse": recipe["reverse"], "unroll": recipe["unroll"]}
        return scan(body, (first, h), xs if recipe["with_xs"] else None, T, **options)

    return run, tuple(array.astype(dtype) for array in (W, U, H0, XS))


def everything(scan, recipe):
    """Value, gradients, jvp and vmap, as one function without arguments."""
    run, args = drawn(scan, recipe)

    def real(*args):
        return [leaf for leaf in jax.tree.leaves(run(*args)) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]

    def of(*args):
        got = {"value": run(*args)}
        outs, vjp = jax.vjp(real, *args)
        got["gradient"] = vjp([jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape) for out in outs])
        if recipe["path"] != "custom_vjp":
            got["jvp"] = jax.jvp(real, args, args)[1]
        if not recipe["effect"]:
            stacked = [jnp.stack([arg, arg / 2]) for arg in args]
            got["vmap"] = jax.vmap(lambda w, *others: jax.grad(lambda w: jnp.sum(run(w, *others)[0][1]))(w))(*stacked)
        return got

    return jax.jit(of)(*args)


@hypothesis.settings(max_examples=5, phases=[hypothesis.Phase.generate])
@hypothesis.given(BODIES)
def test_any_body(recipe):
    ours, theirs = (everything(scan, recipe) for scan in (jbptt.scan, lax.scan))
    types = [jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), tree) for tree in (ours, theirs)]
    assert types[0] == types[1]
    tolerance = {"bfloat16": 0.1}.get(recipe["dtype"], TOLERANCE[recipe["dtype"]])
    assert_close(ours, theirs, 1e-5 if recipe["path"] == "float32" and tolerance < 1e-5 else tolerance)
