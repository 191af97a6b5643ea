"""What a run of the translation model is made of."""

from typing import Literal, NamedTuple

from jbptt.cells.table import CellName


class Settings(NamedTuple):
    """What a run is made of; the command line's options of the same names say what each is."""

    tokens: Literal["characters", "words"] = "characters"
    longest: int = 200
    attention: Literal["bahdanau", "luong_dot", "luong_general", "luong_concat", "none"] = "bahdanau"
    baseline: bool = True
    encoder: Literal["bidirectional", "forward", "reversed"] = "bidirectional"
    cell: CellName = "gru"
    layers: int = 1
    hidden: int = 128
    batch: int = 64
    steps: int = 1000
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 4e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    seed: int = 0
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    vjp: Literal["manual", "auto"] = "manual"
    nfc: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    validations: int = 5
    patience: int = 0
    checkpoint_every: str = "2m"
    min_count: int = 1


PAIRS = Settings(baseline=False)
"""What a user's own pairs start from: a second model would take as long again."""
