"""`jbptt train chars` and `jbptt sample`: the character model from its text to its samples."""

import hashlib
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import training
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.errors import UserError
from jbptt.app.files import existing_run_folder, new_run_folder, read_config, write_atomically
from jbptt.app.plots import plot_losses
from jbptt.app.reporting import Reporter
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import Corpus, bigram_entropy, make_corpus, read_texts, standard_library, streams
from jbptt.app.tasks.chars.settings import Settings
from jbptt.cells.table import CELLS

REPORTS, VALIDATIONS = 75, 5
"""How often a run reports its training loss, and validates and checkpoints."""

EVALUATED = 2**17
"""The characters, from the beginning of a split, that validation and test losses are measured on."""


_train_step = jax.jit(model.train_step, static_argnames="settings", donate_argnames="carry")
_evaluate = jax.jit(model.evaluate, static_argnames="settings")
_sample = jax.jit(model.sample, static_argnames=("settings", "length"))


def train(texts: list[Path], given: dict[str, Any], out: Path | None, resume: bool, reporter: Reporter) -> bool:
    """Trains a character model, or goes on with one; returns whether it came to its end.

    - `texts`: UTF-8 files; none for the standard library's source code, or for the run's if it is resumed.
    - `given`: the settings that the user gave; the others are the defaults', or the run's if it is resumed.

    Raises UserError for anything that the user can mend.
    """
    settings, before, run = Settings(**given), None, None
    if resume:
        run = existing_run_folder(out, "chars")
        before = read_config(run)
        settings = _resumed(run, _settings(run, before), given)
        texts = texts or [Path(path) for path in before["texts"]]
    use_dtype(settings)
    text = read_texts(texts) if texts else standard_library()
    corpus = make_corpus(text, shortest=settings.batch * (settings.length + 1))
    digest, bigram = hashlib.sha256(text.encode()).hexdigest(), bigram_entropy(corpus)
    if before is not None and digest != before["text_sha256"]:
        raise UserError(f"--text is not what {run} was trained on: give it that text, or start a new run")
    carry, start = _init(settings, len(corpus.vocabulary)), 0
    run = new_run_folder(out, "chars") if run is None else run
    with Checkpoints(run) as checkpoints:
        if before is not None and (latest := checkpoints.latest_step()) is not None:
            carry, start = checkpoints.restore(latest, carry), latest
        config = {"task": "chars", "settings": settings._asdict(), "texts": [str(path) for path in texts]}
        config |= {"text_sha256": digest, "bigram_nats": bigram, "vocabulary": corpus.vocabulary}
        write_atomically(run / "config.json", json.dumps(config, indent=1))
        _introduce(reporter, run, settings, corpus, bigram, carry.params, start)
        outcome = training.train(_task(settings, corpus), carry, start, run, checkpoints, reporter)
    if outcome.interrupted:
        command = shlex.join(["jbptt", "train", "chars", "--resume", "--out", str(run)])
        reporter.say(
            "interrupted",
            f"interrupted at step {outcome.step}: checkpoint saved in {run}; go on with: {command}",
            step=outcome.step,
            run=str(run),
        )
        return False
    _conclude(reporter, run, settings, corpus, bigram, outcome.carry.params)
    return True


def sample(path: Path, prime: str, temperature: float, length: int, seed: int) -> dict[str, Any]:
    """Continues `prime` by a trained model.

    - `path`: the folder of a run, whose newest checkpoint is taken, or one of its checkpoints.

    Returns {"checkpoint", "prime", "text"}. Raises UserError for anything that the user can mend.
    """
    run, step = path, None
    if path.absolute().parent.name == "checkpoints" and path.name.isdecimal():
        run, step = path.absolute().parent.parent, int(path.name)
    config = read_config(run)
    settings = _settings(run, config)
    use_dtype(settings)
    if not (run / "checkpoints").is_dir():
        raise UserError(f"{run} has no checkpoint yet")
    with Checkpoints(run) as checkpoints:
        step = checkpoints.latest_step() if step is None else step
        if step is None:
            raise UserError(f"{run} has no checkpoint yet")
        carry = checkpoints.restore(step, _init(settings, len(config["vocabulary"])))
    text = generate(settings, carry.params, config["vocabulary"], prime, temperature, length, seed)
    return {"checkpoint": str(run / "checkpoints" / str(step)), "prime": prime, "text": text}


def generate(
    settings: Settings, params: dict, vocabulary: str, prime: str, temperature: float, length: int, seed: int
) -> str:
    """The characters that follow `prime`. Raises UserError if it is empty or holds one that the model never saw."""
    if not prime:
        raise UserError("--prime must hold at least one character")
    unknown = sorted(set(prime) - set(vocabulary))
    if unknown:
        raise UserError(f"--prime holds {unknown[0]!r}, which is not in the vocabulary of the training text")
    indices = jnp.asarray([vocabulary.index(character) for character in prime], jnp.int32)
    drawn = _sample(settings, params, jax.random.key(seed), indices, length, jnp.float32(temperature))
    return "".join(vocabulary[index] for index in np.asarray(drawn))


def use_dtype(settings: Settings) -> None:
    """Lets JAX have float64 where the settings ask for it."""
    if settings.dtype == "float64":
        jax.config.update("jax_enable_x64", True)


def _settings(run, config) -> Settings:
    """The settings in a run's config.json, every field of it checked."""
    fields = {"texts": list, "text_sha256": str, "vocabulary": str, "settings": dict}
    wrong = [name for name, kind in fields.items() if not isinstance(config.get(name), kind) or not config[name]]
    wrong = [name for name in wrong if name != "texts" or config.get(name) != []]
    wrong += [] if all(isinstance(path, str) for path in config.get("texts") or []) else ["texts"]
    if not wrong:
        values, defaults = config["settings"], Settings()._asdict()
        wrong = sorted(set(values) ^ set(defaults))
        wrong += [name for name, default in defaults.items() if not isinstance(values.get(name), type(default))]
    if not wrong:
        wrong = [name for name, value in values.items() if not _possible(name, value)]
    if wrong:
        raise UserError(f"{run / 'config.json'} is not what train wrote: look at {', '.join(map(repr, wrong))}")
    return Settings(**values)


def _possible(name, value) -> bool:
    """Whether the command line would have taken this value of a setting, which is of the right type."""
    if name == "cell":
        return value in CELLS
    choices = get_args(get_type_hints(Settings)[name])  # of a Literal
    if choices:
        return value in choices
    if name == "seed":
        return 0 <= value < 2**32
    return value >= 1 if isinstance(value, int) else math.isfinite(value) and value > 0


def _init(settings: Settings, vocabulary_size: int) -> model.Carry:
    try:
        return model.init(settings, vocabulary_size)
    except ValueError as error:  # a size that this cell cannot have
        raise UserError(f"--cell {settings.cell} --hidden {settings.hidden}: {error}") from None


def _resumed(run, settings: Settings, given) -> Settings:
    for name, value in given.items():
        before = getattr(settings, name)
        if value != before and name != "steps":
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} {value} contradicts the run in {run}, which has {before}: leave it out")
    if given.get("steps", settings.steps) < settings.steps:
        raise UserError(
            f"--steps {given['steps']} is less than the run in {run} has ({settings.steps}): it can only grow"
        )
    return settings._replace(steps=given.get("steps", settings.steps))


def _task(settings: Settings, corpus: Corpus) -> training.Task:
    stream = streams(corpus.train, settings.batch)
    validation_loss = _evaluator(settings, corpus.validation)
    return training.Task(
        steps=settings.steps,
        step=lambda carry, number: _train_step(settings, carry, model.chunk_of(number, stream, settings.length)),
        validate=lambda carry: validation_loss(carry.params),
        learning_rate=model.learning_rate(settings),
        items="characters",
        items_per_step=settings.batch * settings.length,
        report_every=max(1, settings.steps // REPORTS),
        validate_every=max(1, settings.steps // VALIDATIONS),
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


def _conclude(reporter, run, settings, corpus, bigram, params):
    validation, test = (_evaluator(settings, split)(params) for split in (corpus.validation, corpus.test))
    prime = "def " if set("def ") <= set(corpus.vocabulary) else corpus.vocabulary[int(corpus.train[0])]
    text = generate(settings, params, corpus.vocabulary, prime, temperature=0.7, length=400, seed=settings.seed)
    write_atomically(run / "sample.txt", prime + text)
    plot = plot_losses(run, bigram)
    more = shlex.join(["jbptt", "sample", str(run), "--prime", prime])
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
