"""Pairs from a user's own file: a line each, SOURCE<tab>TARGET; columns after them, as tutorials' files have, are not
read."""

import random
from functools import lru_cache
from pathlib import Path

from jbptt.app.errors import UserError
from jbptt.app.files import composed, read_utf8
from jbptt.app.tasks.translation.pairs import UNKNOWN, Data, Encoding, Pair, Vocabulary, split
from jbptt.app.tasks.translation.settings import Settings

HELD_OUT, TESTED = 0.05, 1000
"""The share of distinct sources for validation, and the same for test; and the most sources, and pairs, of each."""

POOL = 16
"""Batches, an epoch at most, whose pairs are sorted by length among them, so that little of a batch is padding."""


def read_pairs(path: Path, settings: Settings) -> list[Pair]:
    """The pairs of a UTF-8 file: the first two columns; lines with nothing in them are left out.

    Raises UserError for a file or a line that cannot be read, or is too long.
    """
    lines = enumerate(composed(read_utf8("--pairs", path), settings.nfc).replace("\r\n", "\n").split("\n"), start=1)
    pairs = [_pair(line, settings, f"--pairs {path}, line {number}") for number, line in lines if line.strip(" ")]
    if not pairs:
        raise UserError(f"--pairs {path} is empty: it needs lines of SOURCE<tab>TARGET")
    return pairs


def _pair(line, settings, where):
    columns = line.split("\t")[:2]
    if len(columns) != 2:
        raise UserError(f"{where}: must be SOURCE<tab>TARGET, has one column where two are needed")
    for name, column in zip(("source", "target"), columns, strict=True):
        tokens = len(split(column, words=settings.tokens == "words"))
        if tokens == 0:
            raise UserError(f"{where}: the {name} is empty, it needs at least one token")
        if tokens > settings.longest:
            raise UserError(
                f"{where}: the {name} has {tokens} tokens, more than --longest {settings.longest}: shorten it, or ask "
                "for more"
            )
    return Pair(*columns)


def pairs_data(path: Path, settings: Settings) -> Data:
    """The pairs of a file, some of its distinct sources held out. Raises UserError if those are too few."""
    pairs, words = read_pairs(path, settings), settings.tokens == "words"
    sources = sorted({pair.source for pair in pairs})
    random.Random(settings.seed).shuffle(sources)
    if len(sources) < 3:
        raise UserError(
            f"--pairs {path} holds {len(sources)} different sources, at least 3 are needed: one to learn from, and two "
            "to hold out"
        )
    held_out = max(1, min(TESTED, int(HELD_OUT * len(sources))))
    of = {source: 0 for source in sources[:held_out]} | {source: 1 for source in sources[held_out : 2 * held_out]}
    validation, test, learned = ([pair for pair in pairs if of.get(pair.source, 2) == n] for n in range(3))

    texts = list(zip(*pairs, strict=True))  # the sources, the targets
    counted = texts if settings.min_count == 1 else zip(*learned, strict=True)  # rare is what is rarely learned from
    source, target = (Vocabulary.of(each, words=words, min_count=settings.min_count) for each in counted)
    if rare := [name for name, of in (("source", source), ("target", target)) if not set(of.tokens) - {UNKNOWN[words]}]:
        raise UserError(f"--min-count {settings.min_count} leaves no token of the {rare[0]}: make it smaller")
    source_size, target_size = (max(len(split(text, words=words)) for text in each) for each in texts)
    encoding = Encoding(source, target, source_size, target_size + 1)
    of_step = _batches(learned, settings, encoding)
    return Data(encoding, of_step, validation[:TESTED], {"held-out sources": test[:TESTED]}, tuple(learned))


def _batches(learned, settings, encoding):
    """of_step(step): pairs of like lengths; an epoch has every pair once, however it is cut."""
    pool_batches = max(1, min(POOL, len(learned) // settings.batch))

    @lru_cache(2)
    def epoch(number):
        return random.Random(f"{settings.seed} {number}").sample(learned, len(learned))

    @lru_cache(2)
    def pool(number):
        size = pool_batches * settings.batch
        places = range(number * size, (number + 1) * size)
        pairs = sorted((epoch(place // len(learned))[place % len(learned)] for place in places), key=encoding.sizes)
        batches = [pairs[start : start + settings.batch] for start in range(0, size, settings.batch)]
        return random.Random(f"{settings.seed} pool {number}").sample(batches, pool_batches)

    return lambda step: pool(step // pool_batches)[step % pool_batches]
