"""A batch sharded over four CPU devices by `NamedSharding` under `jax.jit`, as JAX's data parallelism has it: gradients
are those of one device, what is compiled moves no activations between devices, and its temporaries are the plain
scan's.
"""

import math
import re
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, full, mesh_of
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jbptt

T, B, I, H = 40, 16, 12, 24
KEY = jax.random.key(0)
MOVED = re.compile(r"(all-gather|all-to-all|collective-permute)")
"""What would move activations; gradients of weights are summed by all-reduces."""


@pytest.fixture(autouse=True)
def float32_by_default():
    """As kernels have it; and JAX's own promotions."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def xs_of(rows):
    return np.asarray(jax.random.normal(KEY, (T, rows, I)))


def lengths_of(rows):
    return np.arange(rows, dtype=np.int32) % (T + 1)


def resets_of(rows):
    return np.asarray(jax.random.bernoulli(KEY, 0.2, (T, rows)))


def unrolled(cell, options=(), **fixed):
    """A problem: (cost(params, xs, lengths, resets, vjp), params)."""

    def cost(params, xs, lengths, resets, vjp):
        marks = {name: value for name, value in {"lengths": lengths, "resets": resets}.items() if name in options}
        how = fixed | ({"vjp": "auto", "backend": None} if vjp == "auto" else {})
        state, hs = jbptt.unroll(cell, params, xs, **marks, **how)
        return jnp.sum(hs**2) + jnp.sum(state.h)

    return cost, cell.init(KEY, I, H)


def attending(maker):
    cell = maker(jbptt.gru, memory_size=I)

    def cost(params, xs, lengths, resets, vjp):
        consts = jbptt.with_memory(params, xs, jnp.maximum(lengths, 1), vjp=vjp)
        return jnp.sum(jbptt.unroll(cell, consts, xs, lengths=lengths, vjp=vjp)[1] ** 2)

    return cost, cell.init(KEY, I, H)


def head(loss, targets):
    def cost(params, xs, lengths, resets, vjp):
        return loss(jbptt.dense(params, xs, vjp=vjp), targets(xs), vjp=vjp)

    return cost, {"w": jax.random.normal(KEY, (I, 5)), "b": jnp.zeros(5)}


def heads():
    """All losses of one head, with targets and weights that are not sharded."""
    xs = xs_of(B)
    classes, weights = np.argmax(xs[..., :5], axis=-1), np.asarray(xs[..., 0] > 0)
    some = jnp.asarray(xs[..., :5]), jnp.asarray(xs[..., :5] > 0, jnp.float32), jnp.asarray(classes)

    def cost(params, xs, lengths, resets, vjp):
        losses = jbptt.mse, jbptt.binary_cross_entropy, jbptt.softmax_cross_entropy
        outputs, of_rows = jbptt.dense(params, xs, vjp=vjp), jnp.asarray(weights)
        every = [of_rows[..., None], of_rows[..., None], of_rows]
        return sum(loss(outputs, t, w, vjp=vjp) for loss, t, w in zip(losses, some, every, strict=True))

    return cost, {"w": jax.random.normal(KEY, (I, 5)), "b": jnp.zeros(5)}


def stacked():
    """Both directions, then a cell, with all that is drawn, between layers too."""
    layers = [jbptt.Bidirectional(jbptt.gru, jbptt.rnn), jbptt.lstm]
    drawn = {"dropout": 0.2, "recurrent_dropout": 0.2, "zoneout": 0.1, "key": KEY}

    def cost(params, xs, lengths, resets, vjp):
        _, hs = jbptt.stack(layers, params, xs, lengths=lengths, resets=resets, truncate=7, vjp=vjp, **drawn)
        return jnp.sum(hs**2)

    return cost, jbptt.stack_init(KEY, layers, I, H)


def translating():
    model = jbptt.Seq2Seq((jbptt.gru,), (jbptt.bahdanau_cell(jbptt.lstm, memory_size=H),))

    def cost(params, xs, lengths, resets, vjp):
        source, target = jnp.argmax(xs[..., :9], axis=-1), jnp.argmax(xs[..., :5], axis=-1)
        logits = jbptt.seq2seq(
            model, params, source, target, source_lengths=jnp.maximum(lengths, 1), target_lengths=lengths, vjp=vjp
        )
        return jbptt.softmax_cross_entropy(logits, target, vjp=vjp)

    return cost, jbptt.seq2seq_init(KEY, model, 9, 5, H)


def scanned():
    """`jbptt.scan`, manual, against `lax.scan`."""

    def cost(params, xs, lengths, resets, vjp):
        def body(h, x):
            h = jnp.tanh(x @ params["U"] + h @ params["W"] + params["b"])
            return h, h

        start = 0 * xs[0] @ params["U"]
        return jnp.sum((jbptt.scan if vjp == "manual" else lax.scan)(body, start, xs)[1] ** 2)

    return cost, jbptt.rnn.init(KEY, I, 64)


PROBLEMS = {
    "lstm": partial(unrolled, jbptt.lstm, backend="scan"),
    "lstm, as chosen": partial(unrolled, jbptt.lstm),
    "lstm, checkpoint": partial(unrolled, jbptt.lstm, checkpoint=8),
    "lstm, reverse": partial(unrolled, jbptt.lstm, ("lengths",), reverse=True),
    "gru, lengths": partial(unrolled, jbptt.gru, ("lengths",)),
    "gru, lengths, resets, checkpoint": partial(unrolled, jbptt.gru, ("lengths", "resets"), checkpoint=8),
    "rnn, resets": partial(unrolled, jbptt.rnn, ("resets",)),
    "lstm_heads": partial(unrolled, jbptt.lstm_cell(heads=4)),
    "bahdanau": partial(attending, jbptt.bahdanau_cell),
    "luong": partial(attending, jbptt.luong_cell),
    "mse": partial(head, jbptt.mse, lambda xs: xs[..., :5]),
    "binary_cross_entropy": partial(head, jbptt.binary_cross_entropy, lambda xs: (xs[..., :5] > 0).astype(xs.dtype)),
    "softmax_cross_entropy": partial(head, jbptt.softmax_cross_entropy, lambda xs: jnp.argmax(xs[..., :5], axis=-1)),
    "scan": scanned,
    "lstm, truncate, zoneout": partial(unrolled, jbptt.lstm, truncate=7, zoneout=0.2),
    "gru, zoneout, recurrent dropout": partial(unrolled, jbptt.gru, zoneout=0.2, recurrent_dropout=0.3, key=KEY),
    "lstm, truncate, reverse, marks replicated": partial(
        unrolled, jbptt.lstm, ("lengths", "resets"), truncate=7, reverse=True
    ),
    "losses, targets replicated": heads,
    "stack, marks replicated": stacked,
    "seq2seq, marks replicated": translating,
}
"""{name: makes (cost(params, xs, lengths, resets, vjp), params)}"""


def value_and_gradient(cost, vjp):
    return jax.value_and_grad(partial(cost, vjp=vjp), (0, 1))


MESHES = {"Auto": AxisType.Auto, "Auto, set": AxisType.Auto, "Explicit": AxisType.Explicit}
"""Axes of the mesh; "set": as the context's, by `jax.set_mesh`, without which there are no explicit ones."""


FROM_HOST = "lstm, as chosen", "gru, lengths", "rnn, resets"
"""Those that are given, too, arrays of no device, which `jax.jit` shards itself: what is traced then knows of one
device, and has the C++ kernels, which their lowering makes the scan again."""


KERNEL = "jbptt_forward"
"""How the name of a kernel begins, in a program's text."""


def forms(name):
    """The forms in which a problem is compiled."""
    return [*MESHES, *(["Auto, from the host"] if name in FROM_HOST else [])]


def specs(name):
    """Of params, xs, lengths, resets."""
    marks = (P(), P()) if "marks replicated" in name else (P("batch"), P(None, "batch"))
    return P(), P(None, "batch"), *marks


def compiled(cost, name, how, mesh, args):
    """((the program by hand, by JAX), its arguments)"""
    shardings = tuple(NamedSharding(mesh, spec) for spec in specs(name))
    options = {"in_shardings": shardings} if how == "Auto, from the host" else {}
    if not options:
        args = [jax.device_put(arg, sharding) for arg, sharding in zip(args, shardings, strict=True)]
    functions = (jax.jit(value_and_gradient(cost, vjp), **options) for vjp in ("manual", "auto"))
    return tuple(function.lower(*args).compile() for function in functions), args


def moves(program):
    return set(MOVED.findall(program.as_text()))


@pytest.mark.parametrize("name", full(PROBLEMS, but=("lstm, as chosen", "softmax_cross_entropy")))
def test_a_sharded_batch_stays_where_it_is(name):
    """Gradients equal; nothing but weights' gradients between devices; temporaries as a plain scan's."""
    cost, params = PROBLEMS[name]()
    arrays = jax.tree.map(np.asarray, params), xs_of(B), lengths_of(B), resets_of(B)
    alone = jax.jit(value_and_gradient(cost, "auto"))(*arrays)
    for how in forms(name):
        check(name, how, cost, arrays, alone)


def check(name, how, cost, arrays, alone):
    mesh = mesh_of(4, MESHES[how.removesuffix(", from the host")])
    with jax.set_mesh(mesh) if how in ("Auto, set", "Explicit") else nullcontext():
        (manual, auto), args = compiled(cost, name, how, mesh, arrays)
        got = jax.device_get(manual(*args))
    if how == "Auto, from the host":
        by_one = jax.jit(value_and_gradient(cost, "manual")).lower(*arrays).as_text()
        assert KERNEL in by_one or not jbptt.backends()["cpu"].available, f"{name}: there was no kernel to step aside"
        assert KERNEL not in manual.as_text(), f"{name}, {how}: a kernel ran on several devices"
    assert_close(got, jax.device_get(alone), 1e-5, f"{name}, {how}")
    assert not moves(manual), f"{name}, {how}: {moves(manual)}"
    largest = max(leaf.size for leaf in jax.tree.leaves(arrays[0]))
    results = re.findall(r"= (.*?) all-reduce\(", manual.as_text())
    summed = [
        math.prod(int(n) for n in size.split(",") if n) for r in results for size in re.findall(r"\[([\d,]*)\]", r)
    ]
    assert summed and max(summed) <= largest, f"{name}, {how}: all-reduces of {summed}"
    temporaries = [program.memory_analysis().temp_size_in_bytes for program in (manual, auto)]
    assert temporaries[0] <= 1.5 * temporaries[1] + 4096, f"{name}, {how}: temporaries {temporaries}"


def test_moves_are_seen():
    """Of a cost that asks for the whole batch on every device."""
    mesh = mesh_of(4)

    def cost(xs):
        whole = lax.with_sharding_constraint(jnp.sin(xs), NamedSharding(mesh, P()))
        return lax.with_sharding_constraint(jnp.cumsum(whole, axis=1), NamedSharding(mesh, P()))

    xs = jax.device_put(xs_of(B), NamedSharding(mesh, P(None, "batch")))
    assert moves(jax.jit(cost).lower(xs).compile()) == {"all-gather"}
