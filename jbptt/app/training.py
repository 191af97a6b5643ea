"""The training loop of every task: steps, reports, validation, checkpoints, and an orderly stop."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app.checkpoints import Checkpoints
from jbptt.app.errors import UserError
from jbptt.app.every import Every
from jbptt.app.metrics import columns, in_units, read_rows, write_rows
from jbptt.app.optimising import learning_rate
from jbptt.app.reporting import Reporter
from jbptt.app.running_mean import RunningMean
from jbptt.app.stopping import stop_at_once


class Task(NamedTuple):
    """What the loop needs to know of a task.

    - `steps`: how many to run.
    - `step(carry, number) -> carry`: one of them, number 0, 1, ...; the carry has a field `losses`, a `RunningMean`.
    - `validate(carry) -> figures`: of the validation set, by their names, the loss first.
    - `learning_rate(number)`: the rate at a step, a number or an array of one.
    - `items`, `items_per_step`: what is counted, e.g. "characters", and how many a step takes.
    - `report_every`, `validate_every`: steps; with each validation comes a checkpoint.
    - `checkpoint_every`: how often a checkpoint is saved beside those.
    - `patience`: validations in a row, none better than one before them, after which training ends; 0, never.
    - `figures`: the names of what `validate` gives; the loss is one of metrics.py's UNITS.
    - `solved(carry)`: whether training may end, for what was to be learned is; asked every `ASKED_EVERY` steps.
    """

    steps: int
    step: Callable[[Any, int], Any]
    validate: Callable[[Any], dict[str, float]]
    learning_rate: Callable[[int], Any]
    items: str
    items_per_step: int
    report_every: int
    validate_every: int
    checkpoint_every: Every
    patience: int = 0
    figures: tuple[str, ...] = ("nats",)
    solved: Callable[[Any], bool] = lambda carry: False


def task_of(settings: Any, reports: int, **own: Any) -> Task:
    """A task whose steps, rate, validations, checkpoints and patience are its settings'.

    - `reports`: about how often its training loss is reported.
    - `own`: the other fields.
    """
    return Task(
        steps=settings.steps,
        learning_rate=learning_rate(settings),
        report_every=max(1, settings.steps // reports),
        validate_every=max(1, settings.steps // settings.validations),
        checkpoint_every=Every.of(settings.checkpoint_every),
        patience=settings.patience,
        **own,
    )


ASKED_EVERY = 20
"""Steps after which a task is asked whether it is solved, which waits for the device."""


class Outcome(NamedTuple):
    """Where training ended: the carry, the steps done, whether a signal ended it, and whether its patience did; where
    neither is so, it came to its last step, or the task was solved."""

    carry: Any
    step: int
    interrupted: bool = False
    out_of_patience: bool = False


def train(task: Task, carry: Any, start: int, run: Path, checkpoints: Checkpoints, reporter: Reporter) -> Outcome:
    """Runs steps `start`.. of a task, writing metrics.csv and checkpoints into the folder `run`; none where
    patience has ended already.

    SIGINT, SIGTERM or SIGHUP ends it after the step at hand, with a checkpoint. Metrics past `start` are dropped first.
    Raises UserError when the loss, or what a checkpoint would keep, is no longer a number.
    """
    names = columns(task.figures)
    rows = [row for row in read_rows(run, names) if row["step"] <= start]
    write_rows(run, rows, names)
    if _is_out_of_patience(task, rows):
        return Outcome(carry, start, out_of_patience=True)
    if task.solved(carry):
        return Outcome(carry, start)
    every = task.checkpoint_every
    began, done_before = time.perf_counter(), start
    saved_at, saved_step = began, start
    with _signals() as signals:
        for number in range(start, task.steps):
            carry = task.step(carry, number)
            done = number + 1
            last = done == task.steps or (done % ASKED_EVERY == 0 and task.solved(carry))
            validates, validation = last or done % task.validate_every == 0, None
            if validates or done % task.report_every == 0:
                loss = carry.losses.value()  # waits for the device
                carry = carry._replace(losses=RunningMean.empty())
                now = time.perf_counter()
                speed = (done - done_before) * task.items_per_step / (now - began)
                began, done_before = now, done
                figures = task.validate(carry) if validates else dict.fromkeys(task.figures)
                validation = figures[task.figures[0]]
                began += time.perf_counter() - now  # validation is not training time
                rows.append(_row(task, number, loss, figures, speed))
                write_rows(run, rows, names)
                reporter.step(task.steps, task.items, rows[-1])
                if not (math.isfinite(loss) and math.isfinite(validation or 0)):
                    raise _no_number("the loss", done, checkpoints)
            stop = bool(signals)  # read once: another may come in between
            now = time.perf_counter()
            if validates or stop or done - saved_step >= every.steps or now - saved_at >= every.seconds:
                if not _is_finite(carry):
                    raise _no_number("a loss or weight", done, checkpoints)
                checkpoints.save(done, carry, validation)
                saved_at, saved_step = time.perf_counter(), done
                began += saved_at - now  # nor is saving
            if stop and not last:
                return Outcome(carry, done, interrupted=True)
            if validates and _is_out_of_patience(task, rows):
                return Outcome(carry, done, out_of_patience=True)
            if last:
                return Outcome(carry, done)
    return Outcome(carry, start)


def _is_out_of_patience(task, rows):
    column = f"validation_{task.figures[0]}"
    losses = [row[column] for row in rows if row[column] is not None]
    return 0 < task.patience < len(losses) and min(losses[-task.patience :]) >= min(losses[: -task.patience])


def _no_number(what, step, checkpoints):
    kept = checkpoints.latest_step()
    return UserError(
        f"{what} at step {step} is no number: start again with a smaller --learning-rate or --clip"
        + (f" (checkpoint {kept} is from before)" if kept else "")
    )


def _is_finite(carry):
    floats = [leaf for leaf in jax.tree.leaves(carry) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return all(np.isfinite(leaf).all() for leaf in jax.device_get(floats))  # by NumPy, which compiles nothing


def _row(task, number, train_loss, figures, items_per_second):
    loss, *others = task.figures
    return {
        "step": number + 1,
        **in_units("train", loss, train_loss),
        **in_units("validation", loss, figures[loss]),
        **{f"validation_{name}": figures[name] for name in others},
        "learning_rate": float(task.learning_rate(number)),
        "items_per_second": round(items_per_second),
    }


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT, SIGTERM and SIGHUP append to, once; the second signal does what it always did, and where that
    is to raise KeyboardInterrupt in a callback, whose caller would ignore it, the program stops all the same."""
    caught: list[int] = []
    before = {}
    ignored = sys.unraisablehook

    def heed(unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            stop_at_once()
        ignored(unraisable)

    def catch(number, frame):
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue  # nohup's wish
        before[number] = signal.signal(number, catch)
    sys.unraisablehook = heed
    try:
        yield caught
    finally:
        sys.unraisablehook = ignored
        for number, handler in before.items():
            signal.signal(number, handler)
