"""Pairs of texts, their vocabularies, and the arrays that a step takes.

S tokens of the longest source, T of the longest target with its end, B batch.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

START, END = 0, 1
"""The tokens before and after every target. A vocabulary's own come after them."""

SPECIAL = 2
"""How many those are."""

UNKNOWN = {True: "<unk>", False: "\N{REPLACEMENT CHARACTER}"}
"""The word, and the character, that stands for all that are not in a vocabulary, where that has it."""


class Pair(NamedTuple):
    """A text, and what it is to become."""

    source: str
    target: str


class Vocabulary(NamedTuple):
    """The tokens that a text is made of: characters, or what whitespace separates; and whether one of them, `UNKNOWN`,
    stands for all others."""

    tokens: tuple[str, ...]
    words: bool
    has_unknown: bool = False

    @classmethod
    def of(cls, texts: Iterable[str], *, words: bool, min_count: int = 1) -> "Vocabulary":
        """The tokens that are in these texts so often; where that is more than once, the unknown one too."""
        counts = Counter(token for text in texts for token in split(text, words=words))
        tokens = {token for token, count in counts.items() if count >= min_count}
        has_unknown = min_count > 1
        return cls(tuple(sorted(tokens | ({UNKNOWN[words]} if has_unknown else set()))), words, has_unknown)

    @property
    def size(self) -> int:
        """How many tokens a model knows, START and END among them."""
        return len(self.tokens) + SPECIAL

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that are not in the vocabulary, where that has none for the unknown."""
        if self.has_unknown:
            return []
        return sorted(set(split(text, words=self.words)) - set(self.tokens))

    def text(self, indices: Sequence[int]) -> str:
        """What the indices say, without START and END."""
        return (" " if self.words else "").join(self.tokens[index - SPECIAL] for index in indices if index >= SPECIAL)


Tokens = Any
"""An array of integers: NumPy's where it is made, JAX's where it is traced."""


class Batch(NamedTuple):
    """Pairs as arrays, int32; padding is `END`.

    - `source` [S, B], `source_lengths` [B].
    - `target` [T, B], each behind its START, and `following` [T, B], what comes after each of its tokens, END at last.
    - `target_lengths` [B], the END counted.
    """

    source: Tokens
    source_lengths: Tokens
    target: Tokens
    following: Tokens
    target_lengths: Tokens


class Encoding(NamedTuple):
    """How pairs become arrays: the vocabularies, and S and T."""

    source: Vocabulary
    target: Vocabulary
    source_size: int
    target_size: int

    def sizes(self, pair: Pair) -> tuple[int, int]:
        """The tokens of a pair's source, and of its target with its END."""
        source, target = (split(text, words=of.words) for text, of in zip(pair, self[:2], strict=True))
        return len(source), len(target) + 1

    def fitted_to(self, pairs: Sequence[Pair]) -> "Encoding":
        """With the least of S, its half, its quarter, ... that holds these pairs, and of T: few, for a step is compiled
        for each."""
        source, target = map(max, zip(*map(self.sizes, pairs), strict=True))
        return self._replace(
            source_size=_halved(self.source_size, source), target_size=_halved(self.target_size, target)
        )

    def batch(self, pairs: Sequence[Pair]) -> Batch:
        """Pairs, each at least one token and no longer than these sizes, as arrays."""
        source, source_lengths = _padded([p.source for p in pairs], self.source, self.source_size)
        following, target_lengths = _padded([p.target for p in pairs], self.target, self.target_size, ended=True)
        target = np.concatenate([np.full_like(following[:1], START), following[:-1]])
        return Batch(source, source_lengths, target, following, target_lengths)


class Data(NamedTuple):
    """What a model learns from.

    - `encoding`: how it becomes arrays.
    - `of_step(step)`: the pairs of step 0, 1, ...; the same each time that it is asked.
    - `validation`, `tests`: held-out pairs; the second by what is new in them.
    - `learned`: all that steps take, where that is a list.
    """

    encoding: Encoding
    of_step: Callable[[int], list[Pair]]
    validation: list[Pair]
    tests: dict[str, list[Pair]]
    learned: tuple[Pair, ...] = ()

    def digest(self) -> str:
        """Tells data from other data."""
        vocabularies = [vocabulary[:2] for vocabulary in self.encoding[:2]]
        held = [[*vocabularies, *self.encoding[2:]], self.of_step(0), self.validation, self.tests, self.learned]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()


def split(text: str, *, words: bool) -> list[str]:
    """The tokens of a text."""
    return text.split() if words else list(text)


def _halved(size, needed):
    half = (size + 1) // 2
    return size if half < max(needed, 4) else _halved(half, needed)


def _padded(texts, vocabulary, size, *, ended=False):
    """Indices, time first, and lengths."""
    index = {token: number for number, token in enumerate(vocabulary.tokens, start=SPECIAL)}
    unknown = index.get(UNKNOWN[vocabulary.words], END)  # END for none: then nothing is unknown, or `unknown` told
    padded = np.full((len(texts), size), END, np.int32)
    lengths = np.zeros(len(texts), np.int32)
    for row, text in enumerate(texts):
        indices = [index.get(token, unknown) for token in split(text, words=vocabulary.words)]
        padded[row, : len(indices)] = indices
        lengths[row] = len(indices) + ended
    return np.ascontiguousarray(padded.T), lengths
