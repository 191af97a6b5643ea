"""`jbptt train` of a task on sequences, from its settings to its results."""

import hashlib
import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbptt.app import curves, regularising, runs, training
from jbptt.app.errors import UserError
from jbptt.app.metrics import columns, read_rows
from jbptt.app.plots import plot_losses
from jbptt.app.reporting import Reporter
from jbptt.app.settings import blaming, settings_in
from jbptt.app.tasks.sequences import model, results
from jbptt.app.tasks.sequences.settings import settings_of
from jbptt.app.tasks.sequences.task import Batch, Problem, Task
from jbptt.cells.table import CELLS
from jbptt.interop.writing import write_atomically

REPORTS = 50
"""How often a run reports its training loss."""


def train(task: Task, given: dict[str, Any], folder: runs.Folder, reporter: Reporter) -> bool:
    """Trains a task's model, or goes on with one; returns whether it came to its end.

    - `given`: the settings that the user gave; the others are the defaults', or the run's if it is resumed.

    Raises UserError for anything that the user can mend.
    """

    def prepare(settings, before, run):
        problem = task.problem(settings)
        digest = _digest(problem)
        if before is not None and digest != before["data_sha256"]:
            raise UserError(f"{run} was begun with other data: install the packages of then, or start a new run")
        evaluate = _evaluator(settings, problem)
        return runs.Prepared(
            {"data_sha256": digest, "curve": curves.of_sequences(task.figure, problem)._asdict()},
            _init(settings, problem),
            _training(task, settings, problem, evaluate),
            lambda run, carry, start: _introduce(reporter, run, task, settings, problem, carry, start),
            lambda run, carry, which: _conclude(reporter, run, task, settings, problem, carry, evaluate),
        )

    kind = settings_of(task)

    def settings_from(config, run):
        return settings_in(config, kind, {"data_sha256": str}, run)

    return runs.train(task.name, kind(), given, prepare, settings_from, folder, reporter)


def _digest(problem):
    """Of the held-out sets: that a resumed run has the data that it began with."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((problem.validation, problem.tests)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _init(settings, problem):
    regularising.check(settings, CELLS[settings.cell])
    with blaming(settings, "cell", "hidden"):
        return model.init(settings, problem)


def _evaluator(settings, problem):
    """evaluate(params, batches) -> the figures by their names."""
    sums = jax.jit(partial(model.sums, settings, problem))

    def evaluate(params: dict, batches: list[Batch]) -> dict[str, float]:
        parts = [np.asarray(sums(params, batch), np.float64) for batch in batches]
        values = [float(total / number) for total, number in sum(parts[1:], parts[0])]
        return dict(zip(problem.output.figures, values, strict=True))

    return evaluate


def _training(task, settings, problem: Problem, evaluate) -> training.Task:
    step = jax.jit(partial(model.train_step, settings, task.run_of_right, problem), donate_argnums=0)
    return training.task_of(
        settings,
        REPORTS,
        step=step,
        validate=lambda carry: evaluate(carry.params, problem.validation),
        items="sequences",
        items_per_step=settings.batch,
        figures=problem.output.figures,
        solved=lambda carry: settings.until_solved and int(carry.progress.solved_after) > 0,
    )


def _introduce(reporter, run, task, settings, problem, carry, start):
    parameters = _size(carry.params)
    baselines = ", ".join(f"{name} {value:.4f}" for name, value in problem.baselines.items())
    reporter.say(
        "start",
        f"{run}: {settings.cell}, {settings.layers} layer(s) of {settings.hidden}, {parameters:,} parameters; "
        f"baseline of {task.figure.replace('_', ' ')}: {baselines}" + (f"; resumed at step {start}" if start else ""),
        run=str(run),
        parameters=parameters,
        figure=task.figure,
        baselines=problem.baselines,
        step=start,
    )


def _conclude(reporter, run: Path, task, settings, problem, carry, evaluate):
    rows = read_rows(run, columns(problem.output.figures))
    steps = [after - before for before, after in pairwise([0, *(row["step"] for row in rows)])]
    found = results.Results(
        figure=task.figure,
        sets={name: evaluate(carry.params, batches) for name, batches in problem.tests.items()},
        baselines=problem.baselines,
        parameters=_size(carry.params),
        sequences=sum(steps) * settings.batch,
        seconds=sum(n * settings.batch / max(1, row["items_per_second"]) for n, row in zip(steps, rows, strict=True)),
        solved_after=int(carry.progress.solved_after) * settings.batch or None,
    )
    text = results.text_of(found)
    write_atomically(run / "results.md", text + "\n")
    fields = {"task": task.name, "settings": settings._asdict()} | results.json_of(found)
    write_atomically(run / "results.json", json.dumps(fields, indent=1))
    paths = [
        plot_losses(run, curves.of_run(run)),
        *(run / name for name in ("metrics.csv", "results.md", "results.json")),
    ]
    paths += task.leave(run, settings, problem, carry.params)
    reporter.say("end", f"\n{text}\n\n{', '.join(map(str, paths))}", run=str(run), **results.json_of(found))


def _size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))
