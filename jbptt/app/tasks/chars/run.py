"""`jbptt train chars` and `jbptt sample`: the character model from its text to its samples."""

import hashlib
import math
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import curves, regularising, runs, training
from jbptt.app.errors import UserError
from jbptt.app.files import composed, read_config
from jbptt.app.plots import plot_losses
from jbptt.app.reporting import Reporter
from jbptt.app.settings import blaming, not_ours, settings_in
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import Corpus, bigram_entropy, make_corpus, read_texts, standard_library, streams
from jbptt.app.tasks.chars.settings import Settings
from jbptt.interop.writing import write_atomically

REPORTS = 75
"""How often a run reports its training loss."""

EVALUATED = 2**17
"""The characters, from the beginning of a split, that validation and test losses are measured on."""


_train_step = jax.jit(model.train_step, static_argnames="settings", donate_argnames="carry")
_evaluate = jax.jit(model.evaluate, static_argnames="settings")
_sample = jax.jit(model.sample, static_argnames=("settings", "length"))


def train(texts: list[Path], given: dict[str, Any], folder: runs.Folder, reporter: Reporter) -> bool:
    """Trains a character model, or goes on with one; returns whether it came to its end.

    - `texts`: UTF-8 files; none for the standard library's source code, or for the run's if it is resumed.
    - `given`: the settings that the user gave; the others are the defaults', or the run's if it is resumed.

    Raises UserError for anything that the user can mend.
    """

    def prepare(settings, before, run):
        paths = texts or [Path(path) for path in (before or {}).get("texts", [])]
        text = composed(read_texts(paths) if paths else standard_library(), settings.nfc)
        corpus = make_corpus(text, shortest=settings.batch * (settings.length + 1))
        digest, bigram = hashlib.sha256(text.encode()).hexdigest(), bigram_entropy(corpus)
        if before is not None and digest != before["text_sha256"]:
            raise UserError(f"--text is not what {run} was trained on: give it that text, or start a new run")
        config = {"texts": [str(path) for path in paths], "text_sha256": digest}
        return runs.Prepared(
            config | {"bigram_nats": bigram, "vocabulary": corpus.vocabulary},
            initial_carry(settings, len(corpus.vocabulary)),
            _task(settings, corpus),
            lambda run, carry, start: _introduce(reporter, run, settings, corpus, bigram, carry.params, start),
            lambda run, carry, which: _conclude(reporter, run, settings, corpus, bigram, carry.params, which),
        )

    return runs.train("chars", Settings(), given, prepare, settings_of, folder, reporter)


def sample(path: Path, prime: str, drawing: model.Drawing, length: int, seed: int, best: bool) -> dict[str, Any]:
    """Continues `prime` by a trained model.

    - `path`: the folder of a run, whose newest checkpoint is taken, or the `best`; or one of its checkpoints.

    Returns {"checkpoint", "prime", "text"}. Raises UserError for anything that the user can mend.
    """
    run, step = runs.run_of(path)
    config = read_config(run, "chars")
    settings = settings_of(config, run)
    runs.use_dtype(settings)
    start = partial(initial_carry, settings, len(config["vocabulary"]))
    checkpoint, carry = runs.restored(run, step, start, best=best)
    prime = composed(prime, settings.nfc)
    text = generate(settings, carry.params, config["vocabulary"], prime, drawing, length, seed)
    return {"checkpoint": str(checkpoint), "prime": prime, "text": text}


def generate(
    settings: Settings, params: dict, vocabulary: str, prime: str, drawing: model.Drawing, length: int, seed: int
) -> str:
    """The characters that follow `prime`. Raises UserError if it is empty or holds one that the model never saw."""
    if not prime:
        raise UserError("--prime must hold at least one character")
    unknown = sorted(set(prime) - set(vocabulary))
    if unknown:
        raise UserError(
            f"--prime {prime!r} holds {unknown[0]!r}, which is not in the vocabulary of the training text: "
            f"name another, e.g. --prime {shlex.quote(vocabulary[-1])}"
        )
    indices = jnp.asarray([vocabulary.index(character) for character in prime], jnp.int32)
    drawn = _sample(settings, params, jax.random.key(seed), indices, length, drawing)
    return "".join(vocabulary[index] for index in np.asarray(drawn))


def settings_of(config: dict[str, Any], run: Path) -> Settings:
    """The settings in a run's config.json, every field of it checked."""
    texts = config.get("texts")
    if not isinstance(texts, list) or not all(isinstance(path, str) for path in texts):
        raise not_ours(run, "texts")
    return settings_in(config, Settings, {"text_sha256": str, "vocabulary": str}, run)


def initial_carry(settings: Settings, vocabulary_size: int) -> model.Carry:
    """Where training starts. Raises UserError for settings that contradict each other."""
    regularising.check(settings, model.cell_of(settings))
    with blaming(settings, "cell", "hidden"):
        return model.init(settings, vocabulary_size)


def _task(settings: Settings, corpus: Corpus) -> training.Task:
    stream = streams(corpus.train, settings.batch)
    validation_loss = _evaluator(settings, corpus.validation)
    return training.task_of(
        settings,
        REPORTS,
        step=lambda carry, number: _train_step(settings, carry, model.chunk_of(number, stream, settings.length)),
        validate=lambda carry: {"nats": validation_loss(carry.params)},
        items="characters",
        items_per_step=settings.batch * settings.length,
    )


def _evaluator(settings, indices) -> Callable[[dict], float]:
    shortest = settings.batch * (settings.length + 1)
    stream = jnp.asarray(streams(indices[: max(EVALUATED, shortest)], settings.batch))
    return lambda params: float(_evaluate(settings, params, stream))


def _introduce(reporter, run, settings, corpus, bigram, params, start):
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    characters = sum(len(split) for split in corpus[1:])
    reporter.say(
        "start",
        f"{run}: {settings.cell}, {settings.layers} layer(s) of {settings.hidden}, {parameters:,} parameters; "
        f"{characters:,} characters, {len(corpus.vocabulary)} distinct; bigram entropy {bigram:.4f} nats "
        f"({bigram / math.log(2):.3f} bits) a character" + (f"; resumed at step {start}" if start else ""),
        run=str(run),
        parameters=parameters,
        characters=characters,
        vocabulary=len(corpus.vocabulary),
        bigram_nats=bigram,
        bigram_bits=bigram / math.log(2),
        step=start,
    )


def _conclude(reporter, run, settings, corpus, bigram, params, which):
    validation, test = (_evaluator(settings, split)(params) for split in (corpus.validation, corpus.test))
    prime = "def " if set("def ") <= set(corpus.vocabulary) else corpus.vocabulary[int(corpus.train[0])]
    text = generate(settings, params, corpus.vocabulary, prime, model.Drawing(), length=400, seed=settings.seed)
    write_atomically(run / "sample.txt", prime + text)
    plot = plot_losses(run, curves.of_chars(bigram))
    more = shlex.join(["jbptt", "sample", str(run), *which, "--prime", prime])
    bits = [nats / math.log(2) for nats in (validation, test, bigram)]
    reporter.say(
        "end",
        f"\nvalidation {validation:.4f} nats ({bits[0]:.3f} bits), test {test:.4f} nats ({bits[1]:.3f} bits), "
        f"bigram entropy {bigram:.4f} nats ({bits[2]:.3f} bits) a character\n\n{prime}{text}\n\n"
        f"{plot}, {run / 'metrics.csv'}, {run / 'sample.txt'}; more text with: {more}",
        run=str(run),
        validation_nats=validation,
        validation_bits=bits[0],
        test_nats=test,
        test_bits=bits[1],
        bigram_bits=bits[2],
        sample=prime + text,
    )
