"""Runs rows of the table, each run and seed in a folder of its own: what is done is not run again, and what was
interrupted goes on."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jbptt.app.errors import UserError
from jbptt.app.reporting import Reporter
from jbptt.app.reproduce.row import Row, Run, Training
from jbptt.app.runs import Folder
from jbptt.app.settings import MAY_CHANGE
from jbptt.app.tasks.sequences import run as sequences
from jbptt.app.tasks.sequences.settings import settings_of
from jbptt.app.tasks.sequences.table import TASKS
from jbptt.interop.writing import write_atomically


class Job(NamedTuple):
    """A run of a row with a seed, and its folder."""

    row: Row
    name: str
    run: Run
    seed: int
    folder: Path


def jobs(rows: Sequence[Row], seeds: int, out: Path) -> Iterator[Job]:
    """All runs of these rows, a row after the other, with the seeds 0, 1, ..., `seeds` − 1."""
    for row in rows:
        for name, run in row.runs.items():
            for seed in range(seeds):
                yield Job(row, name, run, seed, out / row.name / f"{name}-{seed}")


def results_of(job: Job) -> dict[str, Any] | None:
    """The fields of a run's results.json; None if it is not done. Raises UserError if they are another run's."""
    path = job.folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        told = results["seconds"] + sum(figure.of(results) for figure in job.run.figures.values())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not what a run leaves ({error!r}): delete {job.folder}") from None
    if not isinstance(told, float | int) or not _is_of(job, results):
        raise UserError(f"{job.folder} holds a run of other settings than this row's: delete it, or name another --out")
    return results


def _is_of(job, results):
    if not isinstance(job.run, Training):
        return True
    wanted = _settings(job.run, job.seed)._asdict()
    there = wanted | results.get("settings", {})
    return results.get("task") == job.run.task and all(
        there[name] == value for name, value in wanted.items() if name not in MAY_CHANGE
    )


def _settings(run: Training, seed: int) -> Any:
    return settings_of(TASKS[run.task])()._replace(**run.given, seed=seed)


def do(job: Job, reporter: Reporter) -> dict[str, Any] | None:
    """Does a run, or goes on with it. Returns its results, or None if it was interrupted.

    Raises UserError for anything that the user can mend.
    """
    if isinstance(job.run, Training):
        folder = Folder(job.folder, resume=(job.folder / "config.json").exists())
        ended = sequences.train(TASKS[job.run.task], job.run.given | {"seed": job.seed}, folder, reporter)
        return results_of(job) if ended else None
    began = time.perf_counter()
    fields = job.run.measure(job.seed)
    job.folder.mkdir(parents=True, exist_ok=True)
    fields |= {"seconds": time.perf_counter() - began}
    write_atomically(job.folder / "results.json", json.dumps(fields, indent=1))
    return fields
