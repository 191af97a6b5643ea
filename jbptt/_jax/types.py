"""What the types of arrays tell: over which devices they vary, how they are sharded, what platform they are on."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax import lax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def equally_varying(args: Any) -> Any:
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


def is_partitioned(tree: Any) -> bool:
    """Whether some array is of a mesh of several devices, whose program XLA cuts up (`jax.shard_map`'s are cut)."""
    return any(_free_devices(jax.typeof(leaf).sharding.mesh) > 1 for leaf in jax.tree.leaves(tree))


def _free_devices(mesh):
    devices = 1
    for size, axis_type in zip(mesh.axis_sizes, mesh.axis_types, strict=True):
        devices *= 1 if axis_type == AxisType.Manual else size
    return devices


def explicit_spec(array: Any) -> PartitionSpec | None:
    """How an array's type says that it is sharded, an entry an axis; None where types say nothing (no mesh, or one
    whose axes are not `AxisType.Explicit`)."""
    mesh = jax.typeof(array).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return None
    spec = tuple(jax.typeof(array).sharding.spec)
    return PartitionSpec(*spec, *[None] * (array.ndim - len(spec)))


def sharding_like(like: Any, axes: Sequence[int | None]) -> NamedSharding | None:
    """That of an array with each of its axes as that axis of `like`, or whole for None; where types have shardings."""
    spec = explicit_spec(like)
    if spec is None:
        return None
    wanted = PartitionSpec(*[None if axis is None else spec[axis] for axis in axes])
    return NamedSharding(jax.typeof(like).sharding.mesh, wanted)


def resharded(array: Any, like: Any, axes: Sequence[int | None]) -> Any:
    """`array` with the sharding that `sharding_like` tells."""
    wanted = sharding_like(like, axes)
    return array if wanted is None else jax.sharding.reshard(array, wanted)


def contracted_sharding(a: Any, b: Any, heads: int = 0) -> NamedSharding | None:
    """The `out_sharding` of a product that keeps the last axis of each operand alone, after so many axes of `heads`,
    where types have shardings."""
    spec = explicit_spec(b) or explicit_spec(a)
    if spec is None:
        return None
    mesh = jax.typeof(b if explicit_spec(b) else a).sharding.mesh
    of_a, of_b = explicit_spec(a), explicit_spec(b)
    return NamedSharding(mesh, PartitionSpec(*[None] * heads, of_a and of_a[-1], of_b and of_b[-1]))


def result_type(shape: Sequence[int], dtype: Any, like: Any) -> jax.ShapeDtypeStruct:
    """The type of a foreign call's result: inside `jax.shard_map` it varies along the axes that `like` does."""
    varies = jax.typeof(like).manual_axis_type
    if not varies.varying:
        return jax.ShapeDtypeStruct(shape, dtype)
    whole = NamedSharding(jax.typeof(like).sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=whole, manual_axis_type=varies)


def is_symbolic(tree: Any) -> bool:
    """Whether some size is not known, as in `jax.export` of symbolic shapes."""
    return not all(isinstance(size, int) for leaf in jax.tree.leaves(tree) for size in leaf.shape)


def is_traced(value: Any) -> bool:
    """Whether it stands for an array that is not there yet."""
    return isinstance(value, Tracer)


def platforms(tree: Any) -> set[str]:
    """Those that the arrays are on, as far as they are there already."""
    there = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array) and not is_traced(leaf)]
    return {device.platform for array in there for device in array.devices()}
