"""Writing a sequence with a model that says what comes next: the likeliest token, a drawn one, or the best of several
beams. Where logits are NaN, so are the scores.

T steps at most, B batch, W beams, V tokens.
"""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from jbptt import checks
from jbptt.feedforward.layer import accumulator
from jbptt.feedforward.softmax import softmax_of
from jbptt.networks.drawing import drawn, drawn_of_likeliest

Next = Callable[[Any, jax.Array], tuple[Any, jax.Array]]
"""next(state, tokens [...]) -> (state, logits [..., V]): one step; the state's leaves have the tokens' batch axes.

Outside `jax.jit` decoding is compiled once for each such function; one that closes over arrays that change is better a
`jax.tree_util.Partial` of them, as `decoder_of` makes it: its arrays are arguments."""


class Decoded(NamedTuple):
    """- `tokens` [T, B]: int32; `end` from a sequence's end on.
    - `lengths` [B]: how many tokens come before the end; T where there is none.
    - `scores` [B]: the logarithm of the sequence's probability, its end included; float32 at least.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array


def greedy(next: Next, state: Any, start: jax.Array, *, end: int, steps: int) -> Decoded:
    """The likeliest token, step by step.

    - `next`, `state`: the model, and its state before the first step.
    - `start` [B]: the token before the first, int32.
    - `end`: the token that ends a sequence.
    - `steps`: T, at least 1, known before tracing.

    Raises ValueError for steps below 1, and for an end that is no token, TypeError for tokens that are no integers, and
    for a `next` that gives another state than it is given, or anything but logits beside it.
    """
    next, start = _checked(next, state, start, end, steps)
    return _one_by_one(next, state, start, jnp.arange(steps), Partial(_likeliest), end)


def _likeliest(_, logits):
    return jnp.argmax(logits, axis=-1)


def sampled(
    next: Next,
    state: Any,
    start: jax.Array,
    key: jax.Array,
    *,
    end: int,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Decoded:
    """A token drawn at every step, with the probabilities softmax(logits / temperature).

    - `temperature`: above 0.
    - `top_k`: of the k likeliest alone, and of what is as likely as the last of them; None, of all.
    - `top_p`: of the fewest alone whose probabilities, among those k, sum to p or more; above 0, at most 1.

    The score is that of the model, at temperature 1 and of all tokens. Others as in `greedy`; raises ValueError for a
    temperature or p out of range, and k below 1.
    """
    next, start = _checked(next, state, start, end, steps)
    checks.key("key", key)
    checks.positive("temperature", temperature)
    checks.positive("top_p", top_p, most=1)
    if top_k is not None:
        checks.size("top_k", top_k)
    if top_k is None and isinstance(top_p, Real) and top_p == 1:
        draw = Partial(drawn, temperature)
    else:
        draw = Partial(drawn_of_likeliest, temperature, jnp.iinfo(jnp.int32).max if top_k is None else top_k, top_p)
    return _one_by_one(next, state, start, jax.random.split(key, steps), draw, end)


@partial(jax.jit, inline=True)
def _one_by_one(next, state, start, each, choose, end):
    def step(carry, given):
        state, token, ended, score = carry
        state, logits = next(state, token)
        token = jnp.where(ended, end, choose(given, logits)).astype(jnp.int32)
        gain = jnp.take_along_axis(softmax_of(logits).log_y, token[..., None], axis=-1)[..., 0]
        return (state, token, ended | (token == end), jnp.where(ended, score, score + gain)), token

    nothing = jnp.zeros_like(start, accumulator(jax.eval_shape(next, state, start)[1]))
    carry = state, start.astype(jnp.int32), jnp.zeros_like(start, bool), nothing
    (_, _, _, scores), tokens = lax.scan(step, carry, each)
    return Decoded(tokens, _lengths(tokens, end), scores)


def beam_search(
    next: Next, state: Any, start: jax.Array, *, end: int, steps: int, width: int, length_penalty: float = 1.0
) -> Decoded:
    """The best of the W sequences that `n_best` finds."""
    found = n_best(next, state, start, end=end, steps=steps, width=width, length_penalty=length_penalty)
    return jax.tree.map(lambda array: array[..., 0], found)


def n_best(
    next: Next, state: Any, start: jax.Array, *, end: int, steps: int, width: int, length_penalty: float = 1.0
) -> Decoded:
    """W sequences, kept as the likeliest at every step, B at once: tokens [T, B, W], lengths and scores [B, W].

    - `start` [B], `state` with leaves [B, ...]; `next` is called with tokens [B, W] and leaves [B, W, ...].
    - `width`: W. With 1 it is `greedy`. Of fewer sequences than W that there are, the others have scores of −∞.
    - `length_penalty`: the best is the first, the one with the largest score / (length + 1)^penalty, the end counted; 0
      compares probabilities, which favours short ones (Wu 2016).

    Others as in `greedy`; raises ValueError for a penalty that is not finite.
    """
    checks.size("width", width)
    checks.finite("length_penalty", length_penalty)
    next, start = _checked(next, state, start, end, steps, width)
    return _n_best(steps, width, next, state, start, end, length_penalty)


@partial(jax.jit, static_argnums=(0, 1), inline=True)
def _n_best(steps, width, next, state, start, end, length_penalty):
    B = start.shape[0]
    state = _of_beams(state, width)
    token = jnp.broadcast_to(start[:, None], (B, width)).astype(jnp.int32)
    dtype = accumulator(jax.eval_shape(next, state, token)[1])
    score = jnp.where(jnp.arange(width) == 0, 0, jnp.full_like(token, -jnp.inf, dtype))  # one beam to begin with

    def step(carry, t):
        state, token, ended, score, written = carry
        state, logits = next(state, token)
        V = logits.shape[-1]
        only_end = jnp.where(jnp.arange(V) == end, 0.0, -jnp.inf).astype(dtype)
        gains = jnp.where(ended[..., None], only_end[None, None], softmax_of(logits).log_y)  # [B, W, V]
        score, best = lax.top_k((score[..., None] + gains).reshape(B, width * V), width)
        beam, token = best // V, (best % V).astype(jnp.int32)

        def of_beam(leaf):
            return jnp.take_along_axis(leaf, beam.reshape(B, width, *[1] * (leaf.ndim - 2)), axis=1)

        state, ended, written = jax.tree.map(of_beam, (state, ended, written))
        return (state, token, ended | (token == end), score, written.at[:, :, t].set(token)), None

    written = jnp.broadcast_to(jnp.full_like(token, end)[..., None], (B, width, steps))
    carry = state, token, jnp.zeros_like(token, bool), score, written
    (_, _, _, score, written), _ = lax.scan(step, carry, jnp.arange(steps))
    tokens = jnp.moveaxis(written, -1, 0)  # [T, B, W]
    lengths = _lengths(tokens, end)
    best = jnp.argsort(-score / (lengths + 1).astype(dtype) ** length_penalty, axis=-1)  # [B, W]
    order = partial(jnp.take_along_axis, indices=best, axis=-1)
    in_order = jnp.take_along_axis(tokens, jnp.broadcast_to(best, tokens.shape), axis=-1)
    return Decoded(in_order, order(lengths), order(score))


def _of_beams(state, width):  # [B, ...] -> [B, W, ...]
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], width, axis=1), state)


def _checked(next, state, start, end, steps, width=None):
    """(next as a `Partial`, start as an array), and the rest checked with them."""
    if not callable(next):
        raise TypeError(f"next must be a function of a state and tokens, got {type(next).__name__}")
    checks.size("steps", steps)
    checks.integer("end", end)
    start = checks.array("start", start)
    if not jnp.issubdtype(start.dtype, jnp.integer):
        raise TypeError(f"start must be integers, a token each, got {start.dtype}")
    tokens, state = jax.eval_shape(lambda start: start.astype(jnp.int32), start), jax.eval_shape(lambda: state)
    if width is not None:
        checks.shape("start", start, "[B]", start.shape[:1] or (1,))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            checks.shape("state" + jax.tree_util.keystr(path), leaf, "[B, ...]", (*start.shape, *leaf.shape[1:]))
        tokens, state = jax.eval_shape(lambda tree: _of_beams(tree, width), (tokens, state))
    next = next if isinstance(next, Partial) else Partial(next)
    given = jax.eval_shape(next, state, tokens)
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(f"next must give a pair, (state, logits), got {type(given).__name__}")
    checks.like("the state that next gives", given[0], state, "it must be like the one that it is given")
    logits = given[1]
    if getattr(logits, "shape", ())[:-1] != tokens.shape or logits.ndim != tokens.ndim + 1:
        shape = list(getattr(logits, "shape", [])) or type(logits).__name__
        raise ValueError(f"next must give logits [..., V] for tokens [...] = {list(tokens.shape)}, got {shape}")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"next must give logits in floating point, got {logits.dtype}")
    last = logits.shape[-1] - 1
    checks.within("end", checks.array("end", end), last, f"a token in 0..{last}")
    return next, start


def _lengths(tokens, end):
    return jnp.sum(jnp.cumsum(tokens == end, axis=0) == 0, axis=0, dtype=jnp.int32)
