"""`jbptt train dates`, `jbptt train pairs` and `jbptt translate`: from pairs of texts to translations."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbptt.app import curves, regularising, runs, training
from jbptt.app.errors import UserError
from jbptt.app.files import composed, read_config
from jbptt.app.plots import HeatMap, plot_alignments, plot_losses
from jbptt.app.reporting import Reporter
from jbptt.app.settings import blaming, not_ours, settings_in
from jbptt.app.tasks.translation import model, results
from jbptt.app.tasks.translation.pairs import Data, Encoding, Pair, Vocabulary, split
from jbptt.app.tasks.translation.settings import PAIRS, Settings
from jbptt.app.tasks.translation.tsv import pairs_data
from jbptt.cells.table import CELLS
from jbptt.interop.writing import write_atomically

REPORTS = 50
"""How often a run reports its training loss."""

EVALUATED = 250
"""Held-out pairs at once."""

SHOWN = 5
"""Examples printed, and drawn."""

EMPTY = {"source": "", "rank": 1, "translation": "", "log_probability": None}
"""The translation of nothing."""

DRAWN = 50
"""Heat maps in a picture at most."""

_train_step = jax.jit(model.train_step, static_argnames="settings", donate_argnames="carry")
_score = jax.jit(model.score, static_argnames=("settings", "attention"))
_nats = jax.jit(model.nats, static_argnames=("settings", "attention"))
_translate = jax.jit(model.translate, static_argnames=("settings", "attention", "steps", "width"))
_alignment = jax.jit(model.alignment, static_argnames=("settings", "attention"))


def train_dates(given: dict[str, Any], folder: runs.Folder, reporter: Reporter) -> bool:
    """Trains a model that reads dates, or goes on with one; returns whether it came to its end.

    - `given`: the settings that the user gave; the others are the defaults', or the run's if it is resumed.

    Raises UserError for anything that the user can mend.
    """
    from jbptt.app.tasks.translation.dates import dates_data  # Babel, which translating needs not

    def prepare(settings, before, run):
        data = dates_data(settings.batch, settings.seed)
        differs = f"{run} was begun with other locale data: install the Babel of then, or start a new run"
        return _prepared(reporter, settings, data, before, differs, {})

    return runs.train("dates", Settings(), given, prepare, _settings, folder, reporter)


def train_pairs(path: Path | None, given: dict[str, Any], folder: runs.Folder, reporter: Reporter) -> bool:
    """Trains on the pairs in a file, the run's if it is resumed and none is given; as `train_dates` otherwise."""

    def prepare(settings, before, run):
        file = path or (before and Path(before["pairs"]))
        if file is None:
            raise UserError("--pairs must name a file of lines, SOURCE<tab>TARGET")
        data = pairs_data(file, settings)
        differs = f"--pairs {file} is not what {run} was trained on: give it that file, or start a new run"
        return _prepared(reporter, settings, data, before, differs, {"pairs": str(file)})

    return runs.train("pairs", PAIRS, given, prepare, _settings, folder, reporter)


def translate(
    path: Path, texts: list[str], lines: list[str], beams: int, n_best: int, heat_map: Path | None, best: bool
) -> list[list[dict[str, Any]]]:
    """What a trained model makes of texts, and of a file's lines after them, of which an empty one stays so.

    - `path`: the folder of a run, whose newest checkpoint is taken, or the `best`; or one of its checkpoints.
    - `beams`: how many are kept in the search; 1 takes the likeliest token each time.
    - `n_best`: how many of them to give, the best first.
    - `heat_map`: a PNG file to draw the alignments into.

    Returns of each a list of {"source", "rank", "translation", "log_probability"}, the best first. Raises UserError
    for what the user can mend.
    """
    run, step = runs.run_of(path)
    config = read_config(run, "dates", "pairs")
    settings = _settings(config, run)
    encoding = _encoding(config, settings)
    if heat_map is not None and settings.attention == "none":
        raise UserError(f"--heat-map needs a model with attention, and {run} has none")
    texts, lines = ([composed(text, settings.nfc) for text in some] for some in (texts, lines))
    for text in texts:
        if not split(text, words=encoding.source.words):
            raise UserError("TEXT must hold at least one token, got an empty one")
    texts += lines
    filled = [text for text in texts if split(text, words=encoding.source.words)]
    if heat_map is not None and len(filled) > DRAWN:
        raise UserError(f"--heat-map draws up to {DRAWN} texts, got {len(filled)}: give fewer")
    for text in filled:
        _check_text(text, encoding)
    runs.use_dtype(settings)
    _, carry = runs.restored(run, step, partial(_init, settings, encoding), best=best)
    params = carry.learners[settings.attention].params
    translations = {}
    for part in _parts(list(dict.fromkeys(filled))):
        batch = encoding.batch([Pair(text, "") for text in part])
        found = jax.device_get(
            _translate(
                settings, settings.attention, params, batch.source, batch.source_lengths, encoding.target_size, beams
            )
        )
        translations |= {
            source: [
                {
                    "source": source,
                    "rank": n + 1,
                    "translation": encoding.target.text(found.tokens[:, b, n]),
                    "log_probability": float(found.scores[b, n]),
                }
                for n in range(n_best)
            ]
            for b, source in enumerate(part)
        }
    if heat_map is not None:
        pairs = [Pair(text, translations[text][0]["translation"]) for text in filled]
        try:
            _draw(heat_map, settings, params, encoding, pairs)
        except OSError as error:
            raise UserError(f"--heat-map {heat_map} cannot be written: {error.strerror}") from None
    return [translations.get(text, [EMPTY | {"source": text}]) for text in texts]


def _prepared(reporter, settings, data, before, differs, config):
    """What `runs.train` needs. Raises UserError if the data is not what the run was begun with: `differs`."""
    digest = data.digest()
    if before is not None and digest != before["data_sha256"]:
        raise UserError(differs)
    source, target, source_size, target_size = data.encoding
    config |= {"data_sha256": digest, "source_tokens": source.tokens, "target_tokens": target.tokens}
    return runs.Prepared(
        config | {"source_size": source_size, "target_size": target_size},
        _init(settings, data.encoding),
        _task(settings, data),
        lambda run, carry, start: _introduce(reporter, run, settings, data, carry, start),
        lambda run, carry, which: _conclude(reporter, run, settings, data, carry, which),
    )


def _init(settings, encoding):
    regularising.check(settings, CELLS[settings.cell])
    with blaming(settings, "attention", "encoder", "cell", "hidden"):
        return model.init(settings, encoding)


def _settings(config, run) -> Settings:
    """The settings in a run's config.json, every field of it checked."""
    fields = {"pairs": str} if config["task"] == "pairs" else {}
    fields |= {"data_sha256": str, "source_tokens": list, "target_tokens": list, "source_size": int, "target_size": int}
    settings = settings_in(config, Settings, fields, run)
    for name in ("source_tokens", "target_tokens"):
        if not all(isinstance(token, str) for token in config[name]):
            raise not_ours(run, name)
    return settings


def _encoding(config, settings):
    words = settings.tokens == "words"
    names, has_unknown = ("source_tokens", "target_tokens"), settings.min_count > 1
    source, target = (Vocabulary(tuple(config[name]), words, has_unknown) for name in names)
    return Encoding(source, target, config["source_size"], config["target_size"])


def _check_text(text, encoding):
    tokens = split(text, words=encoding.source.words)
    if unknown := encoding.source.unknown(text):
        raise UserError(
            f"TEXT {_shown(text)} holds {unknown[0]!r}, which is not in the vocabulary that the model was given"
        )
    if len(tokens) > encoding.source_size:
        size = encoding.source_size
        raise UserError(
            f"TEXT {_shown(text)} has {len(tokens)} tokens, and the model was trained on up to {size}: shorten it"
        )


def _shown(text):
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _task(settings: Settings, data: Data) -> training.Task:
    def validate(carry):
        params = carry.learners[settings.attention].params
        sums = [
            _nats(settings, settings.attention, params, data.encoding.fitted_to(pairs).batch(pairs))
            for pairs in _parts(data.validation)
        ]
        return {"nats": float(sum(nats for nats, _ in sums) / sum(tokens for _, tokens in sums))}

    def step(carry, number):
        pairs = data.of_step(number)
        return _train_step(settings, carry, data.encoding.fitted_to(pairs).batch(pairs), number)

    return training.task_of(
        settings,
        REPORTS,
        step=step,
        validate=validate,
        items="pairs",
        items_per_step=settings.batch,
    )


def _parts(pairs):
    return [pairs[start : start + EVALUATED] for start in range(0, len(pairs), EVALUATED)]


def _result(settings, attention, carry, encoding, pairs):
    params = carry.learners[attention].params
    batches = map(encoding.batch, _parts(pairs))  # as long as they may be: so is what a model writes
    scores = [jax.device_get(_score(settings, attention, params, batch)) for batch in batches]
    return results.Result(
        exact=float(np.mean(np.concatenate([score.exact for score in scores]))),
        nats=float(sum(score.nats for score in scores) / sum(score.tokens for score in scores)),
        written=[encoding.target.text(row) for score in scores for row in score.written.T],
    )


def _introduce(reporter, run, settings, data, carry, start):
    parameters = {name: sum(leaf.size for leaf in jax.tree.leaves(of.params)) for name, of in carry.learners.items()}
    models = ", ".join(f"{name} ({number:,} parameters)" for name, number in parameters.items())
    source, target, source_size, target_size = data.encoding
    reporter.say(
        "start",
        f"{run}: {settings.cell}, {settings.layers} layer(s) of {settings.hidden}; attention: {models}; sources of "
        f"up to {source_size} of {len(source.tokens)} {settings.tokens}, targets of up to {target_size - 1} of "
        f"{len(target.tokens)}" + (f"; resumed at step {start}" if start else ""),
        run=str(run),
        parameters=parameters,
        source_vocabulary=len(source.tokens),
        target_vocabulary=len(target.tokens),
        step=start,
    )


def _conclude(reporter, run, settings, data, carry, which):
    of_model = {
        attention: {
            name: _result(settings, attention, carry, data.encoding, pairs) for name, pairs in data.tests.items()
        }
        for attention in carry.learners
    }
    held_out, *_ = data.tests
    text = "\n\n".join(
        [results.table(of_model)]
        + [f"{name}:\n\n{results.examples(some[:SHOWN], of_model, name)}" for name, some in data.tests.items()]
    )
    write_atomically(run / "results.md", text + "\n")
    files = [plot_losses(run, curves.OF_PAIRS), run / "metrics.csv", run / "results.md"]
    if settings.attention != "none":
        params = carry.learners[settings.attention].params
        written = of_model[settings.attention][held_out].written
        shown = [Pair(pair.source, text) for pair, text in zip(data.tests[held_out], written, strict=True)][:SHOWN]
        files.append(_draw(run / "alignments.png", settings, params, data.encoding, shown))
    more = shlex.join(["jbptt", "translate", str(run), *which, "--", data.tests[held_out][0].source])
    reporter.say(
        "end",
        f"\n{text}\n\n{', '.join(map(str, files))}; more with: {more}",
        run=str(run),
        results={
            attention: {name: {"exact": each.exact, "nats": each.nats} for name, each in sets.items()}
            for attention, sets in of_model.items()
        },
    )


def _draw(path, settings, params, encoding, pairs):
    """Heat maps of what was written, into a PNG file."""
    batch = encoding.batch(pairs)
    alpha = np.asarray(_alignment(settings, settings.attention, params, batch), np.float32)  # [T, B, S]
    maps = []
    for b, pair in enumerate(pairs):
        source = split(pair.source, words=encoding.source.words)
        target = [*split(pair.target, words=encoding.target.words), "∎"][: alpha.shape[0]]  # the end may not be reached
        maps.append(HeatMap(alpha[: len(target), b, : len(source)], source, target))
    return plot_alignments(path, maps)
