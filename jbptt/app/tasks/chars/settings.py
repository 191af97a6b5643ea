"""What a run of the character model is made of."""

from typing import Annotated, NamedTuple

from jbptt.app import shared_settings as shared


class Settings(NamedTuple):
    """What a run is made of; the command line's options of the same names say what each is."""

    cell: shared.Cell = "lstm"
    layers: shared.Layers = 1
    hidden: shared.Hidden = 128
    length: Annotated[int, "Characters that the gradient goes back through (the chunk's length)."] = 64
    batch: Annotated[int, "Streams of text side by side."] = 16
    steps: shared.Steps = 6000
    optimizer: shared.Optimizer = "adam"
    learning_rate: shared.LearningRate = 8e-3
    schedule: shared.Schedule = "cosine"
    clip: shared.Clip = 1.0
    seed: shared.Seed = 0
    dtype: shared.Dtype = "float32"
    vjp: shared.VJP = "manual"
    dropout: shared.Dropout = 0.0
    recurrent_dropout: shared.RecurrentDropout = 0.0
    zoneout: shared.Zoneout = 0.0
    validations: shared.Validations = 5
    patience: shared.Patience = 0
    checkpoint_every: shared.CheckpointEvery = "2m"
    nfc: shared.NFC = False
