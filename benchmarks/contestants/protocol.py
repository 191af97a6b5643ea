"""What a contestant is: one recurrent layer of some library, holding the weights that all the others hold.

T time, B batch, I inputs, H units, G gates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Weights = dict[str, jax.Array]
"""The canonical weights, ours: "U" [I, G·H], "W" [H, G·H], "b" [G·H], and for the GRU "bn" [H]; gate blocks
i, f, g, o and r, u, n."""


class LeftOut(Exception):
    """Why a contestant takes no part: not installed, or it cannot express the cell."""


class Contestant(NamedTuple):
    """A recurrent layer in JAX.

    - `function(params, xs, state) -> (state, hs)`: xs [T, B, I], hs [T, B, H]; state is (h,) or (h, c), [B, H] each.
    - `params`: the canonical weights in the library's own layout, any pytree of arrays.
    - `canonical(dparams) -> dict`: gradients in the library's layout as those of the canonical weights.
    - `batch_major`: xs and hs are [B, T, ·] instead, where a library knows no other layout; no transposition of
      ours is timed.
    - `note`: what it computes that the others do not.
    """

    function: Callable[[Any, jax.Array, tuple], tuple[tuple, jax.Array]]
    params: Any
    canonical: Callable[[Any], Weights]
    batch_major: bool = False
    note: str = ""


def need(package: str) -> None:
    """Raises LeftOut unless `package` can be imported."""
    try:
        __import__(package)
    except ImportError as error:
        raise LeftOut(f"not installed: {error}") from None
