"""What a run of the character model is made of."""

from typing import Literal, NamedTuple

from jbptt.cells.table import CellName


class Settings(NamedTuple):
    """What a run is made of; the command line's options of the same names say what each is."""

    cell: CellName = "lstm"
    layers: int = 1
    hidden: int = 128
    length: int = 64
    batch: int = 16
    steps: int = 6000
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 8e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    seed: int = 0
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    vjp: Literal["manual", "auto"] = "manual"
    nfc: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    validations: int = 5
    patience: int = 0
    checkpoint_every: str = "2m"
