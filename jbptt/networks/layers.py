"""Layers of recurrence: in both directions, and one above the other.

T time, B batch (any number of batch axes, none included), I inputs, H units.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jbptt import checks
from jbptt.cells.pieces import features_of_h
from jbptt.cells.rule import Cell, Params, State
from jbptt.networks.at_once import Part, unroll_at_once
from jbptt.recurrence.options import checked_resets, valid_steps
from jbptt.recurrence.regularisation import dropped
from jbptt.unrolling import check_cell, unroll


class Bidirectional(NamedTuple):
    """A layer of two cells, one for each direction of time. Its parameters and its state are pairs."""

    forward: Cell
    backward: Cell


Layer = Cell | Bidirectional


def bidirectional(
    layer: Bidirectional,
    params: tuple[Params, Params],
    xs: jax.Array,
    state: tuple[State, State] | None = None,
    *,
    lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_state: tuple[State, State] | None = None,
    key: jax.Array | None = None,
    **options: Any,
) -> tuple[tuple[State, State], jax.Array]:
    """Runs one cell from the first step to the last, and another from the last to the first.

    - `params`, `state`, `reset_state`: (forward's, backward's), as `unroll` takes them.
    - `xs`: [T, B, I].
    - `lengths`, `mask`: as `unroll` takes them; the backward cell begins at each sequence's own end.
    - `resets`: [T, B]; True at t: an episode begins at step t. No state crosses, in either direction.
    - `key`: as `unroll` takes it, for each direction anew.
    - `options`: `unroll`'s others, for both, but for `reverse`.

    Returns ((state after the last step, state after the first), hs [T, B, Hf + Hb], forward's and backward's joined).
    Raises what `unroll` raises, ValueError unless `params` and `state` are pairs, TypeError for another layer.
    """
    if not isinstance(layer, Bidirectional):
        raise TypeError(f"layer must be a jbptt.Bidirectional(forward, backward), got {type(layer).__name__}")
    if "reverse" in options:
        raise ValueError("reverse is what one of a Bidirectional's cells does: leave it out")
    for name, value in (("params", params), ("state", state), ("reset_state", reset_state)):
        if value is not None and not (isinstance(value, (tuple, list)) and len(value) == 2):
            raise ValueError(f"{name} must be a pair, (forward's, backward's), got {type(value).__name__}")
    starts = (None, None) if state is None else state
    checks.optional_key("key", key)
    keys = (None, None) if key is None else jax.random.split(key)
    forward: dict[str, Any] = options | {"lengths": lengths, "mask": mask, "key": keys[0]}
    backward: dict[str, Any] = options | {"lengths": lengths, "mask": mask, "key": keys[1], "reverse": True}
    if resets is not None:
        shape = checks.array("xs", xs).shape[:-1]
        valid = valid_steps(lengths, mask, shape)
        begins = checked_resets(resets, valid, shape)
        forward["resets"], backward["resets"] = begins, _next_step_of(begins, valid)
    if reset_state is not None:
        forward["reset_state"], backward["reset_state"] = reset_state
    directions = (
        Part(layer.forward, params[0], starts[0], forward),
        Part(layer.backward, params[1], starts[1], backward),
    )
    both = unroll_at_once(directions, xs, chained=False)
    if both is None:
        both = [unroll(cell, of_cell, xs, start, **own) for cell, of_cell, start, own in directions]
    (forward_state, forward_hs, *_), (backward_state, backward_hs, *_) = both
    return (forward_state, backward_state), jnp.concatenate([forward_hs, backward_hs], axis=-1)


def _next_step_of(marks, valid):
    """At every step the mark of the next one that there is, [T, B]; False at the last. From there the backward cell
    enters."""
    marks = jnp.concatenate([marks[1:], jnp.zeros_like(marks[:1])])
    if valid is None:
        return marks
    T = valid.shape[0]
    times = jnp.broadcast_to(jnp.arange(T).reshape(T, *[1] * (valid.ndim - 1)), valid.shape)
    following = lax.cummin(jnp.where(valid, times, T), reverse=True)[1:]
    following = jnp.concatenate([following, jnp.full_like(following[:1], T)]) - 1
    return jnp.take_along_axis(marks, jnp.clip(following, 0), axis=0) & (following < T - 1)


def stack_init(
    key: jax.Array, layers: Sequence[Layer], input_size: int, hidden_size: int | Sequence[int], dtype=jnp.float32
) -> list:
    """Random parameters of layers one above the other.

    - `hidden_size`: the units of every layer (for each direction), or a list of them, one for each layer.

    Raises ValueError unless there are as many sizes as layers, and TypeError or ValueError for bad ones.
    """
    check_layers(layers)
    checks.key("key", key)
    sizes = list(hidden_size) if isinstance(hidden_size, Sequence) else [hidden_size] * len(layers)
    if len(sizes) != len(layers):
        raise ValueError(f"hidden_size must be an int or one for each of {len(layers)} layers, got {len(sizes)}")
    params, features = [], input_size
    for layer, key_layer, size in zip(layers, jax.random.split(key, len(layers)), sizes, strict=True):
        cells = _cells(layer)
        keys = jax.random.split(key_layer, len(cells))
        of_layer = tuple(cell.init(k, features, size, dtype) for cell, k in zip(cells, keys, strict=True))
        features = sum(features_of_h(cell, p) for cell, p in zip(cells, of_layer, strict=True))
        params.append(of_layer if isinstance(layer, Bidirectional) else of_layer[0])
    return params


def stack(
    layers: Sequence[Layer],
    params: Sequence[Any],
    xs: jax.Array,
    states: Sequence[Any] | None = None,
    *,
    reset_states: Sequence[Any] | None = None,
    dropout: float = 0.0,
    key: jax.Array | None = None,
    **options: Any,
) -> tuple[tuple, jax.Array]:
    """Runs layers one above the other: each layer's xs are the hs of the one below it.

    - `layers`: cells, and `Bidirectional`s; different ones are allowed.
    - `params`, `states`, `reset_states`: one a layer (a pair for a `Bidirectional`); `stack_init` makes the first.
    - `xs`: [T, B, I].
    - `dropout`: the part of the hs between two layers that is set to 0, the others being divided by 1 − dropout.
    - `key`: what dropout, and the options' recurrent dropout, zoneout and noise, are drawn with, for each layer anew;
      without one, for evaluation, there is no dropout.
    - `options`: `unroll`'s, for every layer.

    Returns (every layer's last state, hs [T, B, H] of the top layer). Raises what `unroll` raises, and ValueError
    unless there are as many params and states as layers, and for a dropout outside 0 <= dropout < 1.
    """
    check_layers(layers)
    for name, value in (("params", params), ("states", states), ("reset_states", reset_states)):
        if not isinstance(value, (list, tuple) if name == "params" else (list, tuple, type(None))):
            raise TypeError(f"{name} must be a list, one for each layer, got {type(value).__name__}")
        if value is not None and len(value) != len(layers):
            raise ValueError(f"{name} must be one for each of {len(layers)} layers, got {len(value)}")
    checks.rate("dropout", dropout)
    checks.optional_key("key", key)
    states = [None] * len(layers) if states is None else states
    reset_states = [None] * len(layers) if reset_states is None else reset_states
    all_options = [options | {"reset_state": reset_state} for reset_state in reset_states]
    keys: list = [None] * len(layers)
    if key is not None:
        for number, own in enumerate(all_options):
            keys[number], own["key"] = jax.random.split(jax.random.fold_in(key, number))
    of_layers: list = [*zip(layers, params, states, all_options, strict=True)]
    ends, hs = [], xs
    while (number := len(ends)) < len(layers):
        several = [Part(*given) for given in takewhile(lambda given: isinstance(given[0], Cell), of_layers[number:])]
        at_once = unroll_at_once(several, hs, chained=True)
        if at_once is not None:
            ends += [outputs.state for outputs in at_once]
            hs = at_once[-1].hs
            continue
        if keys[number] is not None and number > 0:
            hs = dropped(keys[number], dropout, hs)
        layer, of_layer, state, own = of_layers[number]
        run: Any = bidirectional if isinstance(layer, Bidirectional) else unroll
        end, hs = run(layer, of_layer, hs, state, **own)
        ends.append(end)
    return tuple(ends), hs


def check_layers(layers: Any, name: str = "layers") -> None:
    """Raises TypeError or ValueError for anything but layers, which the caller calls `name`."""
    if not isinstance(layers, (list, tuple)) or isinstance(layers, (Cell, Bidirectional)):
        raise TypeError(f"{name} must be a list of cells and Bidirectionals, got {type(layers).__name__}")
    if not layers:
        raise ValueError(f"{name} must be at least one cell or Bidirectional, got none")
    for number, layer in enumerate(layers):
        for cell in _cells(layer):
            check_cell(cell, f"{name}[{number}]")


def _cells(layer):
    return tuple(layer) if isinstance(layer, Bidirectional) else (layer,)
