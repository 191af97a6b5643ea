"""The settings that tasks share: of each its type and what the command line says of it. Defaults are every task's own.

A task's settings are a NamedTuple whose fields are such types; those that it alone has are annotated in the same way,
`Annotated[int, "Steps of a sequence."]`.
"""

from typing import Annotated, Literal

from jbptt.cells.table import CellName

Cell = Annotated[CellName, "Recurrent cell."]
Layers = Annotated[int, "Recurrent layers."]
Hidden = Annotated[int, "Units of each layer."]
Steps = Annotated[int, "Steps of training. A resumed run may be given more; a cosine then spans them all."]
Optimizer = Annotated[Literal["adam", "rmsprop"], "Optimiser."]
LearningRate = Annotated[float, "Learning rate."]
Schedule = Annotated[Literal["cosine", "constant"], "How the learning rate goes, step by step."]
Clip = Annotated[float, "Largest global norm of the gradient."]
Seed = Annotated[int, "Random seed."]
Dtype = Annotated[Literal["float32", "float64", "bfloat16"], "Of parameters and activations."]
VJP = Annotated[Literal["manual", "auto"], "Backpropagation through time: derived by hand, or jax.grad's."]
NFC = Annotated[bool, "Make one character of a letter and its combining accents (Unicode's normal form C)."]
Dropout = Annotated[float, "Part of the features dropped between layers, in training."]
RecurrentDropout = Annotated[float, "Part of the units that the recurrent product does not see, in training."]
Zoneout = Annotated[float, "Part of the state that stays what it was at each step, in training."]
Validations = Annotated[int, "About how many validations a run has, each with a checkpoint."]
Patience = Annotated[int, "End training after so many validations, none better than those before; 0: never."]
CheckpointEvery = Annotated[
    str, "Steps, or minutes (2m), after which a checkpoint is saved, beside those of the validations."
]
