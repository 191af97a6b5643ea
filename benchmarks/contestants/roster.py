"""The table of contestants: name, who builds it, and which package's version belongs beside its figures."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.contestants import cudnn, equinox_cells, flax_linen, flax_nnx, haiku_cores, keras_layers, ours, plain
from benchmarks.contestants.protocol import Contestant

OURS = "jbptt manual"
TORCH = "torch"


class Entry(NamedTuple):
    """- `build(cell, weights) -> Contestant`; None for PyTorch, which is a runner of its own.
    - `package`: the distribution that it comes from.
    - `ours`: it is no peer.
    """

    build: Callable[..., Contestant] | None
    package: str
    ours: bool = False


ROSTER: dict[str, Entry] = {
    OURS: Entry(ours.manual, "jbptt", ours=True),
    "jbptt xla": Entry(ours.scan, "jbptt", ours=True),
    "jbptt auto": Entry(ours.auto, "jbptt", ours=True),
    "jbptt.scan": Entry(plain.deferred, "jbptt", ours=True),
    "plain scan": Entry(plain.build, "jax"),
    "flax.nnx": Entry(flax_nnx.build, "flax"),
    "flax.linen": Entry(flax_linen.build, "flax"),
    "equinox": Entry(equinox_cells.build, "equinox"),
    "haiku": Entry(haiku_cores.build, "dm-haiku"),
    "keras": Entry(keras_layers.build, "keras"),
    "cuDNN (jax)": Entry(cudnn.build, "jax"),
    TORCH: Entry(None, "torch"),
}

JAX_PEERS = [name for name, entry in ROSTER.items() if not entry.ours and name != TORCH]
"""Whoever else is a JAX program: the plain scan too."""
