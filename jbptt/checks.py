"""Checks of a user's arguments, made once at the public boundary. Every message names the argument and the remedy."""

from typing import Any

import jax
import jax.numpy as jnp


def floating(name: str, value: Any, remedy: str) -> jax.Array:
    """`value` as an array of floating point numbers.

    Raises TypeError, naming the argument, if it is anything else.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array, got {type(value).__name__}: {error}") from None
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {array.dtype}: {remedy}")
    return array


def same_dtype(name: str, array: Any, other_name: str, other: Any) -> None:
    """Raises TypeError, naming both, unless the two arrays have one dtype (no silent promotion)."""
    if array.dtype != other.dtype:
        raise TypeError(
            f"{name} is {array.dtype} but {other_name} is {other.dtype}: cast one, e.g. {name}.astype({other.dtype})"
        )


def shape(name: str, array: Any, symbols: str, expected: tuple[int, ...]) -> None:
    """Raises ValueError unless `array.shape == expected`; `symbols` is the shape in letters, e.g. "[H, G·H]"."""
    if tuple(array.shape) != tuple(expected):
        raise ValueError(f"{name} must have shape {symbols} = {list(expected)}, got {list(array.shape)}")


def size(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an int, ValueError unless it is at least 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def like(name: str, value: Any, expected: Any) -> None:
    """Raises unless the pytree `value` has the structure, shapes (ValueError) and dtypes (TypeError) of `expected`.

    `expected` may hold arrays or `jax.ShapeDtypeStruct`s. The message lists every field that differs.
    """
    structure, expected_structure = jax.tree.structure(value), jax.tree.structure(expected)
    if structure != expected_structure:
        raise ValueError(f"{name} must have the structure {expected_structure}, got {structure}")
    wrong_shapes, wrong_dtypes = [], []
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(value), strict=True)
    for (path, want), got in pairs:
        field = name + jax.tree_util.keystr(path)
        got = jnp.asarray(got) if not hasattr(got, "dtype") else got
        if got.shape != want.shape:
            wrong_shapes.append(f"{field} must have shape {list(want.shape)}, got {list(got.shape)}")
        if got.dtype != want.dtype:
            wrong_dtypes.append(f"{field} must be {want.dtype}, got {got.dtype}")
    if wrong_shapes:
        raise ValueError("; ".join(wrong_shapes))
    if wrong_dtypes:
        raise TypeError("; ".join(wrong_dtypes))
