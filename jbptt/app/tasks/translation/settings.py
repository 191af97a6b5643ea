"""What a run of the translation model is made of."""

from typing import Annotated, Literal, NamedTuple

from jbptt.app import shared_settings as shared
from jbptt.cells.table import CellName


class Settings(NamedTuple):
    """What a run is made of; the command line's options of the same names say what each is."""

    tokens: Annotated[
        Literal["characters", "words"], "What source and target are made of: words are what whitespace separates."
    ] = "characters"
    longest: Annotated[int, "Most tokens of a source, or of a target."] = 200
    min_count: Annotated[int, "Tokens that are rarer in what is learned from become one, the unknown."] = 1
    attention: Annotated[
        Literal["bahdanau", "luong_dot", "luong_general", "luong_concat", "none"],
        "How the decoder looks back at the source.",
    ] = "bahdanau"
    baseline: Annotated[
        bool, "Train a model without attention beside it, on the same batches, for the table of results."
    ] = True
    encoder: Annotated[
        Literal["bidirectional", "forward", "reversed"],
        "How the source is read: from both ends, or forward, or from its end.",
    ] = "bidirectional"
    cell: Annotated[CellName, "Recurrent cell, of encoder and decoder."] = "gru"
    layers: Annotated[int, "Recurrent layers of each."] = 1
    hidden: Annotated[int, "Units of each layer (for each direction), and features of each token."] = 128
    batch: Annotated[int, "Pairs a step."] = 64
    steps: shared.Steps = 1000
    optimizer: shared.Optimizer = "adam"
    learning_rate: shared.LearningRate = 4e-3
    schedule: shared.Schedule = "cosine"
    clip: shared.Clip = 1.0
    seed: shared.Seed = 0
    dtype: shared.Dtype = "float32"
    vjp: shared.VJP = "manual"
    dropout: shared.Dropout = 0.0
    recurrent_dropout: shared.RecurrentDropout = 0.0
    validations: shared.Validations = 5
    patience: shared.Patience = 0
    checkpoint_every: shared.CheckpointEvery = "2m"
    nfc: shared.NFC = False


OF_PAIRS = ("tokens", "longest", "min_count", "nfc")
"""The settings that dates, which are made, have no use for."""

PAIRS = Settings(baseline=False)
"""What a user's own pairs start from: a second model would take as long again."""
