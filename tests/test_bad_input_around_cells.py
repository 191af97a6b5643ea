"""Bad input to what stands around a cell: making one, starting it, decoding, sequence to sequence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbptt
from jbptt import gru, lstm

T, B, I, H, O = 5, 3, 4, 6, 7
KEY = jax.random.key(0)
PARAMS, NET = lstm.init(KEY, I, H), jbptt.network_init(KEY, lstm, I, H, O)
XS = jnp.zeros((T, B, I), jnp.float32)
X, Y = XS[0], jnp.zeros((B, O))
START = jnp.zeros(B, jnp.int32)


def step(state, tokens):
    return state, jnp.zeros((*tokens.shape, 5))


def greedy(next=step, state=(), start=START, end=0, steps=2):
    return jbptt.greedy(next, state, start, end=end, steps=steps)


def n_best(next=step, state=(), width=2, start=START):
    return jbptt.n_best(next, state, start, end=0, steps=2, width=width)


DECODING = {
    "a next that is none": (TypeError, r"next must be a function", lambda: greedy(None)),
    "logits alone": (TypeError, r"next must give a pair", lambda: greedy(lambda s, t: jnp.zeros((B, 5)))),
    "logits of one": (ValueError, r"logits .* = \[3\], got \[5\]", lambda: greedy(lambda s, t: (s, jnp.zeros(5)))),
    "logits of None": (ValueError, r"logits .*got NoneType", lambda: greedy(lambda s, t: (s, None))),
    "logits of ints": (TypeError, r"floating point, got int32", lambda: greedy(lambda s, t: (s, START[:, None]))),
    "logits of no beams": (ValueError, r"\[3, 2\], got \[3, 5\]", lambda: n_best(lambda s, t: (s, jnp.zeros((B, 5))))),
    "a state that changes": (
        ValueError,
        r"state that next gives must have shape \[3, 4\]",
        lambda: greedy(lambda s, t: (s[1:], step(s, t)[1]), X),
    ),
    "an end past the tokens": (ValueError, r"end must be a token in 0..4, got 5", lambda: greedy(end=5)),
    "an end below 0": (ValueError, r"end must be a token in 0..4, got -1", lambda: greedy(end=-1)),
    "an end past int32": (ValueError, r"end must be (a token|within)", lambda: greedy(end=2**40)),
    "steps past int32": (ValueError, r"steps must be at most 2147483647", lambda: greedy(steps=2**40)),
    "a state of another batch": (
        ValueError,
        r"state must have shape \[B, ...\] = \[3, 4\]",
        lambda: n_best(state=X[1:]),
    ),
    "a state without batch": (ValueError, r"state must have shape \[B, ...\]", lambda: n_best(state=jnp.zeros(()))),
    "no key": (TypeError, r"key must be a JAX key", lambda: jbptt.sampled(step, (), START, None, end=0, steps=2)),
}
TOKENS = jnp.ones((T, B), jnp.int32)
TO = jbptt.Seq2Seq((lstm,), (lstm,))
TO_PARAMS = jbptt.seq2seq_init(KEY, TO, 9, 8, H)


def seq2seq(model=TO, params=TO_PARAMS, source=TOKENS, target=TOKENS, **lengths):
    return jbptt.seq2seq(model, params, source, target, **lengths)


SEQ2SEQ = {
    "no model": (TypeError, r"model must be a jbptt.Seq2Seq", lambda: seq2seq(None)),
    "no model to align": (TypeError, r"model must be", lambda: jbptt.alignments(None, TO_PARAMS, TOKENS, TOKENS)),
    "no model to decode": (TypeError, r"model must be", lambda: jbptt.decoder_of(None, TO_PARAMS, TOKENS)),
    "no params": (ValueError, r"params must be a dict", lambda: seq2seq(params=None)),
    "params of another": (ValueError, r"params must have the keys \['bridges'", lambda: seq2seq(params=NET)),
    "params to decode": (ValueError, r"params must have the keys", lambda: jbptt.decoder_of(TO, {}, TOKENS)),
    "a source of nothing": (ValueError, r"source must have at least one token", lambda: seq2seq(source=TOKENS[:0])),
    "a source of rank 0": (ValueError, r"source must have shape \[S, B\]", lambda: seq2seq(source=TOKENS[0, 0])),
    "an empty source": (
        ValueError,
        r"source_lengths must be in 1..T = 1..5, got 0",
        lambda: seq2seq(source_lengths=[0, 1, 2]),
    ),
    "a target too long": (ValueError, r"target_lengths must be in 0..T", lambda: seq2seq(target_lengths=[6, 1, 2])),
    "source lengths of floats": (TypeError, r"source_lengths must be int", lambda: seq2seq(source_lengths=X[:, 0])),
}
STARTS = {
    "a network's params for a start": (
        ValueError,
        r"params must be those of one cell, .*lstm.* got \['V', 'c', 'cell'\]",
        lambda: lstm.initial_state(NET, (B,)),
    ),
    "None for a start": (ValueError, r"params must be those of one cell", lambda: lstm.initial_state(None, ())),
    **{
        f"a batch of {shape}": (
            TypeError,
            r"batch_shape must be a tuple",
            partial(lstm.initial_state, PARAMS, shape),
        )
        for shape in (3, None, (-3,), (2.5,), ("a",))
    },
    **{
        f"a key of {key!r} for {name}": (TypeError, r"key must be a JAX key", lambda init=init, key=key: init(key))
        for name, init in {
            "a cell": lambda key: lstm.init(key, I, H),
            "irnn": lambda key: jbptt.irnn.init(key, I, H),
            "attention": lambda key: jbptt.bahdanau_cell(gru).init(key, I, H),
            "Luong's attention": lambda key: jbptt.luong_cell(gru).init(key, I, H),
            "depth gates": lambda key: jbptt.lstm_depth_gated.init(key, I, H),
            "a network": lambda key: jbptt.network_init(key, lstm, I, H, O),
            "a perceptron": lambda key: jbptt.mlp_init(key, [I, H]),
            "a stack": lambda key: jbptt.stack_init(key, [lstm], I, H),
            "sequences": lambda key: jbptt.seq2seq_init(key, TO, 9, 8, H),
        }.items()
        for key in (None, 3)
    },
    "weights that no memory holds": (ValueError, r"hidden_size must be of weights", lambda: lstm.init(KEY, I, 10**9)),
    "a size past int32": (ValueError, r"hidden_size must be at most", lambda: lstm.init(KEY, I, 2**40)),
}
CELLS_OF_ONES_OWN = {
    "no gates": (ValueError, r"gates must be at least 1", lambda: own(gates=0)),
    "no gates to draw": (ValueError, r"gates must be at least 1", lambda: jbptt.gated_init(0, bias=True)),
    "a tuple for a state": (TypeError, r"state_type must be a NamedTuple", lambda: own(state_type=tuple)),
    "a traced leak": (TypeError, r"alpha must be a number, known", lambda: jax.jit(jbptt.leaky_rnn_cell)(alpha=0.5)),
    "True for noise": (
        TypeError,
        r"noise must be a number",
        lambda: jbptt.unroll(lstm, PARAMS, XS, noise=True),
    ),
    "a mask of nothing": (ValueError, r"mask .*H at least 1", lambda: jbptt.leaky_rnn_cell(mask=np.zeros((0, 0)))),
    "no derivative": (
        TypeError,
        r"activation must be a jbptt.Activation",
        lambda: jbptt.rnn_cell(jbptt.Activation("f", jnp.sin, None)),
    ),
    "probabilities above 1": (
        ValueError,
        r"targets must be probabilities, in 0..1, got 0.0..2.0",
        lambda: jbptt.binary_cross_entropy(Y, Y.at[0, 0].set(2)),
    ),
}


def own(**changes):
    given = {"gates": 1, "state_type": jbptt.RNNState, "init": jbptt.gated_init(1, bias=True)}
    return jbptt.gated_cell("own", pointwise=step, pointwise_vjp=step, **given | changes)


TABLE = {
    f"{table}: {name}": case
    for table, cases in {
        "decoding": DECODING,
        "sequence to sequence": SEQ2SEQ,
        "starts": STARTS,
        "cells": CELLS_OF_ONES_OWN,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", TABLE)
def test_bad_input(case):
    expected, message, call = TABLE[case]
    with pytest.raises(expected, match=message) as error:
        call()
    assert error.type is expected  # and no subclass of JAX's own


def test_an_activation_is_a_function_that_jax_transforms():
    assert jax.jit(jbptt.tanh)(1.0) == jnp.tanh(1.0)
    assert jax.vmap(jbptt.relu)(X).shape == X.shape


def test_a_cell_is_shown_by_its_name():
    assert repr(jbptt.lstm_cell(peepholes="ifo")) == "<jbptt.Cell lstm_cell(peepholes='ifo')>"


def test_a_probability_of_weight_0_may_be_anything():
    targets = Y.at[0].set(-1)
    weights = jnp.ones_like(Y).at[0].set(0)
    assert jbptt.binary_cross_entropy(Y, targets, weights) == jbptt.binary_cross_entropy(Y, Y)
