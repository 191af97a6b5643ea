"""A batch sharded over four CPU devices by `NamedSharding` under `jax.jit`, as JAX's data parallelism has it: gradients
are those of one device, what is compiled moves no activations between devices, and its temporaries are the plain
scan's.

Run by test_sharding.py in a process of its own, for the number of devices is fixed when JAX begins: prints what holds.
"""

import math
import re
import sys
from contextlib import nullcontext
from functools import partial

import jax

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)

import jax.numpy as jnp
import numpy as np
from helpers import assert_close
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jbptt

T, B, I, H = 40, 16, 12, 24
KEY = jax.random.key(0)
MOVED = re.compile(r"(all-gather|all-to-all|collective-permute)")
"""What would move activations; gradients of weights are summed by all-reduces."""


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
    "lstm": unrolled(jbptt.lstm, backend="scan"),
    "lstm, as chosen": unrolled(jbptt.lstm),
    "lstm, checkpoint": unrolled(jbptt.lstm, checkpoint=8),
    "lstm, reverse": unrolled(jbptt.lstm, ("lengths",), reverse=True),
    "gru, lengths": unrolled(jbptt.gru, ("lengths",)),
    "gru, lengths, resets, checkpoint": unrolled(jbptt.gru, ("lengths", "resets"), checkpoint=8),
    "rnn, resets": unrolled(jbptt.rnn, ("resets",)),
    "lstm_heads": unrolled(jbptt.lstm_cell(heads=4)),
    "bahdanau": attending(jbptt.bahdanau_cell),
    "luong": attending(jbptt.luong_cell),
    "mse": head(jbptt.mse, lambda xs: xs[..., :5]),
    "binary_cross_entropy": head(jbptt.binary_cross_entropy, lambda xs: (xs[..., :5] > 0).astype(xs.dtype)),
    "softmax_cross_entropy": head(jbptt.softmax_cross_entropy, lambda xs: jnp.argmax(xs[..., :5], axis=-1)),
    "scan": scanned(),
}


def value_and_gradient(cost, vjp):
    return jax.value_and_grad(partial(cost, vjp=vjp), (0, 1))


MESHES = {"Auto": AxisType.Auto, "Auto, set": AxisType.Auto, "Explicit": AxisType.Explicit}
"""Axes of the mesh; "set": as the context's, by `jax.set_mesh`, without which there are no explicit ones."""


def check(name, how):
    cost, params = PROBLEMS[name]
    arrays = xs_of(B), lengths_of(B), resets_of(B)
    expected = jax.jit(value_and_gradient(cost, "auto"))(params, *arrays)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(MESHES[how],))
    with nullcontext() if how == "Auto" else jax.set_mesh(mesh):

        def put(array, *spec):
            return jax.device_put(array, NamedSharding(mesh, P(*spec)))

        params = jax.tree.map(put, params)
        xs, lengths, resets = arrays
        args = params, put(xs, None, "batch"), put(lengths, "batch"), put(resets, None, "batch")
        manual, auto = (jax.jit(value_and_gradient(cost, vjp)).lower(*args).compile() for vjp in ("manual", "auto"))
        got = jax.device_get(manual(*args))
    assert_close(got, jax.device_get(expected), 1e-5, name)
    moved = set(MOVED.findall(manual.as_text()))
    assert not moved, f"{name}: {moved}"
    largest = max(leaf.size for leaf in jax.tree.leaves(params))
    results = re.findall(r"= (.*?) all-reduce\(", manual.as_text())
    summed = [
        math.prod(int(n) for n in size.split(",") if n) for r in results for size in re.findall(r"\[([\d,]*)\]", r)
    ]
    assert summed and max(summed) <= largest, f"{name}: all-reduces of {summed}"
    temporaries = [program.memory_analysis().temp_size_in_bytes for program in (manual, auto)]
    assert temporaries[0] <= 1.5 * temporaries[1] + 4096, f"{name}: temporaries {temporaries}"


if __name__ == "__main__":
    assert jax.device_count() == 4
    for name in sys.argv[1:] or PROBLEMS:
        for how in MESHES:
            check(name, how)
            print(f"{name}, {how}", flush=True)
