"""Text: where it comes from, its vocabulary, its splits, and what a bigram model would score on it."""

import sysconfig
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jbptt.app.errors import UserError
from jbptt.app.files import read_utf8

SPLIT = (0.90, 0.05, 0.05)
"""Shares of training, validation and test: contiguous, in this order, as in char-RNN."""

_NOT_LIBRARY = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "__pycache__"}


class Corpus(NamedTuple):
    """A text as indices into its own vocabulary.

    - `vocabulary`: its distinct characters, sorted.
    - `train`, `validation`, `test`: int32 indices.
    """

    vocabulary: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def read_texts(paths: Sequence[Path]) -> str:
    """The texts of UTF-8 files, one after the other. Raises UserError for one that is missing, empty or not UTF-8."""
    texts = []
    for path in paths:
        text = read_utf8("--text", path)
        if not text:
            raise UserError(f"--text {path} is empty")
        texts.append(text)
    return "".join(texts)


def standard_library() -> str:
    """The source code of Python's standard library, without its tests: the text that every machine has."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = []
    for path in sorted(root.rglob("*.py")):
        if not _NOT_LIBRARY & set(path.relative_to(root).parts):
            with tokenize.open(path) as file:  # in the encoding that the file declares
                texts.append(file.read())
    return "".join(texts)


def make_corpus(text: str, shortest: int) -> Corpus:
    """Indexes and splits a text. Raises UserError unless every split holds at least `shortest` characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    index = np.zeros(0x110000, np.int32)  # of every character that Unicode has
    index[codes] = 1
    distinct = np.flatnonzero(index)
    index[distinct] = np.arange(len(distinct))
    ends = np.cumsum([int(share * len(codes)) for share in SPLIT[:2]])
    splits = np.split(index[codes], ends)
    if min(len(split) for split in splits) < shortest:
        needed = int(shortest / min(SPLIT)) + len(SPLIT)
        raise UserError(
            f"--text holds {len(codes)} characters, but --batch and --length need about {needed}, one chunk in each of "
            "the three splits: give more text or make them smaller"
        )
    return Corpus("".join(map(chr, distinct)), *splits)


def streams(indices: np.ndarray, batch: int) -> np.ndarray:
    """A text cut into `batch` contiguous streams, time first: [N // batch, batch]."""
    steps = len(indices) // batch
    return indices[: steps * batch].reshape(batch, steps).T


def bigram_entropy(corpus: Corpus) -> float:
    """H(next character | character) of the training text, in nats: what a table of bigrams can reach."""
    size = len(corpus.vocabulary)
    pairs = corpus.train[:-1].astype(np.int64) * size + corpus.train[1:]
    _, counts = np.unique(pairs, return_counts=True)
    _, firsts = np.unique(corpus.train[:-1], return_counts=True)
    total = len(pairs)
    return float((np.sum(firsts * np.log(firsts)) - np.sum(counts * np.log(counts))) / total)
