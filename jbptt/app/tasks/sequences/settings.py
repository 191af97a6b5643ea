"""What a run of a task on sequences is made of."""

from functools import cache
from typing import Annotated, NamedTuple

from jbptt.app import shared_settings as shared
from jbptt.app.settings import joined
from jbptt.app.tasks.sequences.task import Task


class Shared(NamedTuple):
    """What every one of these tasks has."""

    cell: shared.Cell = "lstm"
    layers: shared.Layers = 1
    hidden: shared.Hidden = 64
    batch: Annotated[int, "Sequences a step."] = 32
    steps: shared.Steps = 3000
    optimizer: shared.Optimizer = "adam"
    learning_rate: shared.LearningRate = 4e-3
    schedule: shared.Schedule = "cosine"
    clip: shared.Clip = 1.0
    seed: shared.Seed = 0
    dtype: shared.Dtype = "float32"
    vjp: shared.VJP = "manual"
    dropout: shared.Dropout = 0.0
    recurrent_dropout: shared.RecurrentDropout = 0.0
    zoneout: shared.Zoneout = 0.0
    validations: shared.Validations = 10
    patience: shared.Patience = 0
    until_solved: Annotated[bool, "End training as soon as the task counts as solved."] = False
    checkpoint_every: shared.CheckpointEvery = "2m"


@cache
def settings_of(task: Task) -> type:
    """The NamedTuple of a task's settings: its own, and the shared ones with its defaults."""
    return joined(task.settings, Shared)


def unused_by(task: Task) -> list[str]:
    """The shared settings that a task has no use for."""
    return [] if task.run_of_right else ["until_solved"]
