"""Markdown tables, line by line as their rows come, with columns that are aligned in plain text too."""

from collections.abc import Sequence


def line(texts: Sequence[str], widths: Sequence[int]) -> str:
    """The first text to the left, the others to the right."""
    first, *others = zip(map(_escaped, texts), widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *[text.rjust(width) for text, width in others]])} |"


def head(headings: Sequence[str], widths: Sequence[int]) -> str:
    """The headings, and the rule below them."""
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return f"{line(headings, widths)}\n{line(rule, widths)}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table, as wide as its texts."""
    widths = [max(len(_escaped(text)) for text in column) for column in zip(headings, *rows, strict=True)]
    return "\n".join([head(headings, widths), *(line(row, widths) for row in rows)])


def _escaped(text):
    return text.replace("|", "\\|")
