"""Writing a sequence with a model that says what comes next: the likeliest token, a drawn one, or the best of several
beams.

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

    Raises ValueError for steps below 1, TypeError for tokens that are no integers, the end among them.
    """
    start = _checked(start, steps, end)
    return _one_by_one(_as_partial(next), state, start, jnp.arange(steps), Partial(_likeliest), end)


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
    - `top_k`: of the k likeliest alone; None, of all.
    - `top_p`: of the fewest alone whose probabilities, among those k, sum to p or more; above 0, at most 1.

    The score is that of the model, at temperature 1 and of all tokens. Others as in `greedy`; raises ValueError for a
    temperature or p out of range, and k below 1.
    """
    start = _checked(start, steps, end)
    checks.key("key", key)
    checks.positive("temperature", temperature)
    checks.positive("top_p", top_p, most=1)
    if top_k is not None:
        checks.size("top_k", top_k)
    if top_k is None and isinstance(top_p, Real) and top_p == 1:
        draw = Partial(drawn, temperature)
    else:
        draw = Partial(drawn_of_likeliest, temperature, jnp.iinfo(jnp.int32).max if top_k is None else top_k, top_p)
    return _one_by_one(_as_partial(next), state, start, jax.random.split(key, steps), draw, end)


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
    start = _checked(start, steps, end)
    checks.size("width", width)
    checks.shape("start", start, "[B]", start.shape[:1] or (1,))
    checks.finite("length_penalty", length_penalty)
    return _n_best(steps, width, _as_partial(next), state, start, end, length_penalty)


@partial(jax.jit, static_argnums=(0, 1), inline=True)
def _n_best(steps, width, next, state, start, end, length_penalty):
    B = start.shape[0]
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (B, width, *leaf.shape[1:])), state)
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


def _as_partial(next):
    return next if isinstance(next, Partial) else Partial(next)


def _checked(start, steps, end):
    checks.size("steps", steps)
    checks.integer("end", end)
    start = checks.array("start", start)
    if not jnp.issubdtype(start.dtype, jnp.integer):
        raise TypeError(f"start must be integers, a token each, got {start.dtype}")
    return start


def _lengths(tokens, end):
    return jnp.sum(jnp.cumsum(tokens == end, axis=0) == 0, axis=0, dtype=jnp.int32)
