"""What a trained model's results look like: a table with trivial baselines beside its figure, and the same as JSON."""

from typing import Any, NamedTuple

from jbptt.app import markdown
from jbptt.app.metrics import shown


class Results(NamedTuple):
    """Of a run.

    - `figure`: the name of the one that tells how well it does.
    - `sets`: of every held-out set the figures.
    - `baselines`: what can be had without learning, in that figure.
    - `parameters`: how many the model has.
    - `sequences`, `seconds`: what it was trained on, and for how long.
    - `solved_after`: the sequences after which the task counted as solved; None if it did not.
    """

    figure: str
    sets: dict[str, dict[str, float]]
    baselines: dict[str, float]
    parameters: int
    sequences: int
    seconds: float
    solved_after: int | None


def text_of(results: Results) -> str:
    """Markdown."""
    first, *_ = results.sets.values()
    names = [results.figure, *(name for name in first if name != results.figure)]
    headings = ["", *(name.replace("_", " ") for name in names)]
    rows = [[held_out, *(shown(name, of[name]) for name in names)] for held_out, of in results.sets.items()]
    rows += [
        [f"baseline: {name}", shown(results.figure, value), *[""] * (len(names) - 1)]
        for name, value in results.baselines.items()
    ]
    solved = f"; solved after {results.solved_after:,}" if results.solved_after else ""
    trained = f"{results.parameters:,} parameters, {results.sequences:,} sequences, {results.seconds:.0f} s{solved}"
    return f"{markdown.table(headings, rows)}\n\n{trained}"


def json_of(results: Results) -> dict[str, Any]:
    """The same as a JSON object's fields."""
    return results._asdict()
