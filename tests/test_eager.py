"""Without `jax.jit`: what has been called once, at some shapes, compiles nothing when it is called again."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers import floats, full
from jax import lax, monitoring

import jbptt

T, B, I, H = 5, 3, 4, 8
KEY = jax.random.key(0)
FLOATS = jax.random.normal(KEY, (T, B, I), jnp.float32)
LENGTHS = jnp.array([5, 0, 2], jnp.int32)
RESETS = jax.random.bernoulli(KEY, 0.3, (T, B))
COMPILED = [0]


def count(event, *_, **__):
    COMPILED[0] += event == "/jax/core/compile/backend_compile_duration"


monitoring.register_event_duration_secs_listener(count)


def unrolled(cell, **options):
    params = cell.init(KEY, I, H)
    return lambda: jbptt.unroll(cell, params, FLOATS, **options)


def gradient(function, *args):
    return lambda: jax.grad(lambda *args: sum(jnp.sum(leaf) for leaf in floats(function(*args))))(*args)


PARAMS = jbptt.lstm.init(KEY, I, H)
NETWORK = jbptt.network_init(KEY, jbptt.gru, I, H, 5)
MODEL = jbptt.Seq2Seq((jbptt.gru,), (jbptt.bahdanau_cell(jbptt.gru),))
SEQ2SEQ = jbptt.seq2seq_init(KEY, MODEL, 7, 5, H)
TOKENS = jax.random.randint(KEY, (T, B), 0, 5, jnp.int32)
W = jax.random.normal(KEY, (48, 48), jnp.float32) / 10
CARRY = jnp.zeros(48, jnp.float32)


def body(h, x):
    h = jnp.tanh(h @ W + x)
    return h, h


def written(decode, **how):
    """By a decoder made anew for each source."""
    next, state = jbptt.decoder_of(MODEL, SEQ2SEQ, TOKENS)
    return decode(next, state, jnp.zeros(B, jnp.int32), end=1, steps=4, **how)


CALLS = {
    "unroll": unrolled(jbptt.lstm),
    "unroll, options": unrolled(jbptt.gru, lengths=LENGTHS, resets=RESETS, reverse=True, truncate=2, zoneout=0.2),
    "unroll, checkpoint": unrolled(jbptt.lstm, checkpoint=2),
    "unroll, auto": unrolled(jbptt.lstm, vjp="auto"),
    "unroll, kernel": unrolled(jbptt.lstm, backend="cpu" if jbptt.backends()["cpu"].available else None),
    "gradient": gradient(lambda params: jbptt.unroll(jbptt.lstm, params, FLOATS), PARAMS),
    "gradient, auto": gradient(lambda params: jbptt.unroll(jbptt.lstm, params, FLOATS, vjp="auto"), PARAMS),
    "gradient, checkpoint": gradient(lambda params: jbptt.unroll(jbptt.lstm, params, FLOATS, checkpoint=2), PARAMS),
    "jvp": lambda: jax.jvp(lambda params: jbptt.unroll(jbptt.lstm, params, FLOATS), (PARAMS,), (PARAMS,)),
    "vmap": lambda: jax.vmap(lambda x: jbptt.unroll(jbptt.lstm, PARAMS, x), 1)(FLOATS),
    "mimo": gradient(lambda params: jbptt.mimo(jbptt.gru, params, FLOATS), NETWORK),
    "simo": gradient(lambda params: jbptt.simo(jbptt.gru, params, FLOATS[0], 3), NETWORK),
    "mse": gradient(lambda y: jbptt.mse(y, FLOATS), FLOATS),
    "softmax_cross_entropy": gradient(
        lambda z: jbptt.softmax_cross_entropy(z, TOKENS), jnp.zeros((T, B, 5), jnp.float32)
    ),
    "seq2seq": gradient(lambda params: jbptt.seq2seq(MODEL, params, TOKENS, TOKENS), SEQ2SEQ),
    "alignments": lambda: jbptt.alignments(MODEL, SEQ2SEQ, TOKENS, TOKENS),
    "greedy": lambda: written(jbptt.greedy),
    "sampled": lambda: written(partial(jbptt.sampled, key=KEY)),
    "beam_search": lambda: written(jbptt.beam_search, width=2),
    "scan": lambda: jbptt.scan(body, CARRY, jnp.ones((T, 48))),
}
FAST = ("unroll", "unroll, options", "gradient", "greedy", "mse", "scan")


def compilations(call):
    before = COMPILED[0]
    jax.block_until_ready(call())
    return COMPILED[0] - before


@pytest.fixture(autouse=True)
def as_a_user():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", full(CALLS, but=FAST))
def test_a_second_call_compiles_nothing(name):
    call = CALLS[name]
    call()
    assert compilations(call) == 0


def test_the_gradient_of_a_scan_compiles_what_that_of_lax_scan_does():
    """Anew at each call, for JAX linearises a scan anew."""
    calls = [gradient(lambda h, scan=scan: scan(body, h, jnp.ones((T, 48))), CARRY) for scan in (lax.scan, jbptt.scan)]
    theirs, ours = ([compilations(call) for _ in range(2)][-1] for call in calls)
    assert ours <= theirs


def test_a_first_call_is_seen_to_compile():
    assert compilations(lambda: jax.jit(lambda x: x + 1.2345)(FLOATS)) == 1


@pytest.mark.full
def test_memory_is_flat_over_a_thousand_calls():
    """lax.scan of a new closure keeps about 2 MiB for good at each call."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    for call in (CALLS["unroll"], CALLS["scan"], CALLS["gradient"]):
        for _ in range(20):
            call()
        before = resident()
        for _ in range(1000):
            call()
        assert resident() - before < 30
