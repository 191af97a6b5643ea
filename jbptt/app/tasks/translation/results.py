"""What a trained model's results look like: a table of held-out pairs, and examples."""

from collections.abc import Sequence
from typing import NamedTuple

from jbptt.app import markdown
from jbptt.app.tasks.translation.pairs import Pair


class Result(NamedTuple):
    """Of one model, on one held-out set: the share that is exactly right, the cross entropy of a token, and what was
    written, a text a pair."""

    exact: float
    nats: float
    written: list[str]


Results = dict[str, dict[str, Result]]
"""By attention, then by held-out set."""


def table(results: Results) -> str:
    """Markdown: a row a held-out set, two columns a model."""
    headings = [
        "held out",
        *(f"{name(each)}, {figure}" for each in results for figure in ("exact match", "nats a token")),
    ]
    sets = next(iter(results.values()))
    rows = [[held_out, *(text for each in results.values() for text in _texts(each[held_out]))] for held_out in sets]
    return markdown.table(headings, rows)


def examples(pairs: Sequence[Pair], results: Results, held_out: str) -> str:
    """Markdown: the first pairs of a held-out set, what is right and what each model writes."""
    rows = [[*pair, *(each[held_out].written[row] for each in results.values())] for row, pair in enumerate(pairs)]
    return markdown.table(["source", "target", *map(name, results)], rows)


def name(attention: str) -> str:
    """What a model is called."""
    return "no attention" if attention == "none" else attention


def _texts(result):
    return f"{result.exact:.1%}", f"{result.nats:.4f}"
