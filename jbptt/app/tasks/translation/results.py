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
    names = [("no attention" if attention == "none" else attention) for attention in results]
    headings = ["held out", *(f"{name}: {column}" for name in names for column in ("exact match", "nats a token"))]
    sets = list(next(iter(results.values())))
    widths = [max(map(len, [headings[0], *sets])), *map(len, headings[1:])]
    lines = [markdown.head(headings, widths)]
    for name in sets:
        figures = [each[name] for each in results.values()]
        texts = [text for each in figures for text in (f"{each.exact:.1%}", f"{each.nats:.4f}")]
        lines.append(markdown.line([name, *texts], widths))
    return "\n".join(lines)


def examples(pairs: Sequence[Pair], results: Results, held_out: str) -> str:
    """The first pairs of a held-out set: what is right, and what each model writes."""
    head = markdown.head(["source", "target", *results], [1] * (len(results) + 2))
    lines = [
        markdown.line([*pair, *(each[held_out].written[row] for each in results.values())], [1] * (len(results) + 2))
        for row, pair in enumerate(pairs)
    ]
    return "\n".join([head, *lines])
