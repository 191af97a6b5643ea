"""Checks of a user's arguments, made once at the public boundary. Every message names the argument and the remedy."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbptt._jax import types

DTYPES = tuple(map(jnp.dtype, (jnp.float32, jnp.float64, jnp.bfloat16)))
"""The dtypes of everything that is differentiated."""

LARGEST_INDEX = 2**31 - 1

NOT_FLOAT16 = "its sums over T·B overflow, and small gradients are 0 in it; use bfloat16"

FLOATS_FROM_INDICES = "cast it, or, of indices, make rows with jax.nn.one_hot"


def array(name: str, value: Any) -> jax.Array:
    """`value` as an array. Raises TypeError, naming the argument, if it is none, ValueError for integers that JAX would
    cut to 32 bits."""
    try:
        made = jnp.asarray(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be within JAX's integers: {error}") from None
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array, got {type(value).__name__}: {error}") from None
    if made.size and made.dtype.kind in "iu" and not isinstance(value, jax.Array) and not types.is_traced(made):
        given, limits = np.asarray(value), np.iinfo(made.dtype)
        if given.dtype != made.dtype and not limits.min <= given.min() <= given.max() <= limits.max:
            raise ValueError(f"{name} must be within {made.dtype}, got {given.min()}..{given.max()}")
    return made


def floating(name: str, value: Any, remedy: str) -> jax.Array:
    """`value` as an array of floating point numbers.

    Raises TypeError, naming the argument, if it is anything else.
    """
    value = array(name, value)
    if value.dtype == jnp.float16:
        remedy = NOT_FLOAT16
    if value.dtype not in DTYPES:
        raise TypeError(f"{name} must be floating point (float32, float64 or bfloat16), got {value.dtype}: {remedy}")
    return value


def parameter(name: str, value: Any) -> jax.Array:
    """A parameter as it is. Raises TypeError unless it is an array, not a list or a number, of floating point."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}: make it one with jnp.asarray")
    return floating(name, value, "initialise it in a floating point dtype")


def floating_dtype(name: str, dtype: Any) -> None:
    """Raises TypeError unless `dtype` is one of DTYPES, and one that JAX has: float64 only with jax_enable_x64."""
    try:
        known = dtype is not None and jnp.dtype(dtype) in DTYPES
    except TypeError:
        known = False
    if not known:
        why = f": {NOT_FLOAT16}" if dtype is not None and dtype in (jnp.float16, "float16") else ""
        raise TypeError(f"{name} must be floating point (float32, float64 or bfloat16), got {dtype!r}{why}")
    if jnp.dtype(dtype) == jnp.float64 and not jax.config.read("jax_enable_x64"):
        raise TypeError(
            f"{name} is float64, which JAX would cut to float32: jax.config.update('jax_enable_x64', True) gives it"
        )


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


def within(
    name: str, numbers: jax.Array, largest: int, says: str, *, smallest: int = 0, where: jax.Array | None = None
) -> None:
    """Raises ValueError unless all of them that are known, and not traced, are in smallest..largest; `says` words
    that. With `where`, which is then known too, of those alone where it is True."""
    if types.is_traced(numbers) or types.is_traced(where):
        return
    known = np.asarray(numbers)  # NumPy: a constant inside jit is known, but what jnp computes of it there is not
    known = known if where is None else known[np.broadcast_to(np.asarray(where), known.shape)]
    if known.size and (known.min() < smallest or known.max() > largest):
        raise ValueError(f"{name} must be {says}, got {known.min()}..{known.max()}")


def size(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an int, ValueError unless it is at least 1 and an index of 32 bits."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, known before tracing, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if value > LARGEST_INDEX:
        raise ValueError(f"{name} must be at most {LARGEST_INDEX}, got {value}")


def batch_shape(name: str, value: Any) -> tuple[int, ...]:
    """`value` as a tuple. Raises TypeError unless it is one, or a list, of sizes, symbolic ones among them."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of sizes, as (32,), or (), got {value!r}")
    if not all(isinstance(axis, int) and axis >= 0 for axis in value):
        try:
            jax.eval_shape(lambda: jnp.zeros(value))
        except TypeError:
            raise TypeError(f"{name} must be a tuple of sizes, as (32,), or (), got {value!r}") from None
    return tuple(value)


def integer(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an integer, an int or an array of one."""
    is_array = getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, jnp.integer)
    if isinstance(value, bool) or not (isinstance(value, int) or is_array):
        raise TypeError(f"{name} must be an integer, got {value!r}")


def flag(name: str, value: Any) -> bool:
    """`value` as a bool. Raises TypeError unless it is True or False (or 1 or 0)."""
    if not (isinstance(value, (bool, np.bool_, int)) and value in (0, 1)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def like(name: str, value: Any, expected: Any, remedy: str = "") -> Any:
    """The pytree `value`, of arrays. Raises unless it has the structure, shapes (ValueError) and dtypes (TypeError) of
    `expected`.

    `expected` may hold arrays or `jax.ShapeDtypeStruct`s. The message lists every field that differs, and the remedy.
    """
    remedy = f": {remedy}" if remedy else ""
    structure, expected_structure = jax.tree.structure(value), jax.tree.structure(expected)
    fields = getattr(expected, "_fields", None)
    if fields is not None and type(value) is not type(expected):
        wanted = f"{type(expected).__name__}({', '.join(fields)})"
        raise ValueError(f"{name} must be {wanted}, got {type(value).__name__}{remedy}")
    if structure != expected_structure:
        raise ValueError(f"{name} must have the structure {expected_structure}, got {structure}{remedy}")
    names = [name + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(expected)]
    value = jax.tree.unflatten(structure, map(_array_or_type, names, jax.tree.leaves(value)))
    wrong_shapes, wrong_dtypes = [], []
    for field, want, got in zip(names, jax.tree.leaves(expected), jax.tree.leaves(value), strict=True):
        if got.shape != want.shape:
            wrong_shapes.append(f"{field} must have shape {list(want.shape)}, got {list(got.shape)}")
        if got.dtype != want.dtype:
            wrong_dtypes.append(f"{field} must be {want.dtype}, got {got.dtype}")
    if wrong_shapes:
        raise ValueError("; ".join(wrong_shapes) + remedy)
    if wrong_dtypes:
        raise TypeError("; ".join(wrong_dtypes) + remedy)
    return value


def _array_or_type(name, value):
    return value if isinstance(value, jax.ShapeDtypeStruct) else array(name, value)


def mapping(name: str, params: Any, remedy: str) -> None:
    """Raises ValueError unless `params` is a mapping that JAX knows as a pytree, as dict and its like are."""
    if not isinstance(params, Mapping) or jax.tree_util.all_leaves([params]):
        raise ValueError(
            f"{name} must be a dict, or a mapping that JAX knows as a pytree, got {type(params).__name__}: {remedy}"
        )


def keys(name: str, params: Any, needed: set[str], others: set[str], remedy: str) -> None:
    """Raises ValueError unless `params` is a dict, or its like, with the keys `needed`, and none but those and
    `others`."""
    mapping(name, params, f"with the keys {sorted(needed)}: {remedy}")
    if not needed <= set(params) <= needed | others:
        optional = f" and maybe {sorted(others)}" if others else ""
        raise ValueError(
            f"{name} must have the keys {sorted(needed)}{optional}, got {sorted(map(str, params))}: {remedy}"
        )


def rate(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a number known before tracing, ValueError unless 0 <= value < 1."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, known before tracing, got {type(value).__name__}")
    if not 0 <= value < 1:  # pyright: ignore[reportOperatorIssue]  typeshed's Real has no >=, every real number has
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")


def positive(name: str, value: Any, most: float = math.inf) -> None:
    """Raises TypeError unless `value` is a number, ValueError unless 0 < value <= most, and finite, if it is known."""
    finite(name, value)
    if not types.is_traced(value) and not 0 < float(value) <= most:
        raise ValueError(f"{name} must be above 0{f' and at most {most}' if most < math.inf else ''}, got {value}")


def finite(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a number, ValueError unless it is finite, where it is known."""
    if isinstance(value, bool) or not (isinstance(value, Real) or getattr(value, "shape", None) == ()):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not types.is_traced(value) and not math.isfinite(float(value)):
        raise ValueError(f"{name} must be finite, got {value}")


def key(name: str, value: Any) -> None:
    """Raises TypeError or ValueError unless `value` is a key of JAX, `jax.random.key`'s or a legacy one."""
    dtype = getattr(value, "dtype", None)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not is_typed and dtype != jnp.uint32:
        raise TypeError(f"{name} must be a JAX key, as jax.random.key(0) makes it, got {dtype or type(value).__name__}")
    if value.ndim != (0 if is_typed else 1):
        raise ValueError(f"{name} must be one key, got keys of shape {list(value.shape)}")


def optional_key(name: str, value: Any) -> None:
    """Raises TypeError or ValueError unless `value` is None or a key."""
    if value is not None:
        key(name, value)
