"""The libraries that are timed, one file each: the same cell, with the same weights, over the same sequence.

T time, B batch, I inputs, H units, G gates. Weights are given in jbptt's layout: U [I, G·H], W [H, G·H], b [G·H], gate
blocks i, f, g, o (LSTM) and r, u, n (GRU, whose "bn" is the candidate's recurrent bias).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

CELLS = ("lstm", "gru", "rnn")


class Contestant(NamedTuple):
    """A library's way to run a cell over a sequence.

    - `name`: of the library, and of the way where there are several.
    - `convert(cell, params) -> own`: jbptt's parameters in the library's layout, by a linear or affine JAX function.
    - `run(cell, own, xs, state) -> (state, hs)`: the recurrence, xs [T, B, I], state a tuple (h,) or (h, c).
    - `cells`: which of CELLS it can express exactly.
    - `lacks`: {cell: parameters of ours that it does not have}; they are zero in the measurement.
    """

    name: str
    convert: Callable[[str, dict], Any]
    run: Callable[[str, Any, Any, tuple], tuple[tuple, Any]]
    cells: tuple[str, ...] = CELLS
    lacks: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  never changed


def blocks(array: Any, cell: str) -> list:
    """[..., G·H] as a list of the gates' [..., H]."""
    import jax.numpy as jnp

    return jnp.split(array, {"lstm": 4, "gru": 3, "rnn": 1}[cell], axis=-1)
