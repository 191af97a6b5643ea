"""One mechanism chooses who differentiates a function: we by hand ("manual"), or JAX ("auto").

Whatever has a backward pass of its own is a `HandDerived`. "auto" is its forward as a plain function, JAX's derivative
all the way down; "manual" is the same function inside `jax.custom_vjp` with the hand-derived rule.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax import lax

from jbptt.forward_mode import with_forward_mode

HAND_DERIVED: list["HandDerived"] = []
"""Every function with a hand-derived backward pass, in the order of their definition."""

VJPS = ("manual", "auto")


def check_vjp(vjp: str) -> None:
    """Raises ValueError unless `vjp` names one of the two backward passes."""
    if not isinstance(vjp, str) or vjp not in VJPS:
        raise ValueError(
            f"vjp must be one of {VJPS}, got {vjp!r}: 'manual' is the hand-derived backward pass, "
            "'auto' is jax.grad's of the same forward"
        )


class HandDerived:
    """A function with two backward passes.

    - `primal(*static, *args)`: the forward.
    - `fwd(*static, *args) -> (out, residuals)`: the forward that keeps what the backward needs.
    - `bwd(*static, residuals, cotangents) -> dargs`: the hand-derived backward.
    - `static`: how many leading arguments are not differentiated (hashable: functions, cells, lengths).
    - `alone`: `primal` in the form that is fastest where nothing is differentiated, if that is another.

    Called with `vjp="manual"` or `"auto"`; raises ValueError for any other `vjp`.
    """

    def __init__(
        self, primal: Callable, fwd: Callable, bwd: Callable, *, static: int = 0, alone: Callable | None = None
    ):
        self.auto = primal
        by_hand = jax.custom_vjp(alone or primal, nondiff_argnums=tuple(range(static)))
        by_hand.defvjp(fwd, bwd)
        self.manual = with_forward_mode(by_hand, primal, static)
        HAND_DERIVED.append(self)

    def __call__(self, *args: Any, vjp: str) -> Any:
        check_vjp(vjp)
        return (self.manual if vjp == "manual" else self.auto)(*_equally_varying(args))


def _equally_varying(args):
    """Inside `jax.shard_map`, what is the same on every device, weights mostly, as what differs there: the sum of its
    gradient over the devices is then JAX's."""
    axes = varying_over(args)
    return jax.tree.map(lambda leaf: varying(leaf, axes), args) if axes else args


def varying_over(tree: Any) -> frozenset[str]:
    """The axes of a mesh, inside `jax.shard_map`, along which some leaf may differ."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return frozenset().union(*(jax.typeof(array).manual_axis_type.varying for array in arrays))


def varying(leaf: Any, axes: Iterable[str]) -> Any:
    """An array as one that may differ along these axes; anything else as it is."""
    missing = tuple(frozenset(axes) - varying_over(leaf))
    return lax.pcast(leaf, missing, to="varying") if missing and isinstance(leaf, jax.Array) else leaf
