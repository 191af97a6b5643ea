"""Everybody who trains, by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.steps.in_jax import flax_nnx, ours, ours_dates
from benchmarks.steps.in_pytorch import TorchChars, TorchDates


class Trainer(NamedTuple):
    """What makes its runner of a `StepProblem`; of a `DatesProblem`, where it has that model; and whether it has a
    process of its own."""

    chars: Callable[..., Any]
    dates: Callable[..., Any] | None = None
    apart: bool = False


OURS, AUTO, FLAX = "jbptt manual", "jbptt auto", "flax.nnx"
TRAINERS = {
    OURS: Trainer(partial(ours, vjp="manual"), partial(ours_dates, vjp="manual")),
    AUTO: Trainer(partial(ours, vjp="auto"), partial(ours_dates, vjp="auto")),
    FLAX: Trainer(flax_nnx),
    "torch 1 thread": Trainer(
        partial(TorchChars, threads=1, embedded=False), partial(TorchDates, threads=1), apart=True
    ),
    "torch all threads": Trainer(
        partial(TorchChars, threads=None, embedded=False), partial(TorchDates, threads=None), apart=True
    ),
    "torch embedding 1 thread": Trainer(partial(TorchChars, threads=1, embedded=True), apart=True),
    "torch embedding all threads": Trainer(partial(TorchChars, threads=None, embedded=True), apart=True),
}
