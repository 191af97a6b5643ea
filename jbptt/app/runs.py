"""A run of any task, from its settings to its end: begun, interrupted, gone on with; and its checkpoints read again."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jbptt.app import training
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.errors import UserError
from jbptt.app.files import existing_run_folder, new_run_folder, read_config
from jbptt.app.reporting import Reporter
from jbptt.app.settings import resumed
from jbptt.interop.writing import write_atomically


class Folder(NamedTuple):
    """Where a run is kept.

    - `out`: its folder; None for the next free one, or of those that are there the newest.
    - `resume`: whether to go on with what is there.
    """

    out: Path | None
    resume: bool


class Prepared(NamedTuple):
    """What a task makes of its settings and data.

    - `config`: what config.json holds beside the settings: all that reading a checkpoint needs.
    - `carry`: where training starts.
    - `training`: the loop's steps.
    - `introduce(run, carry, start)`: tells of the run.
    - `conclude(run, carry, which)`: tells of its results, and writes them; `which` are the options that name their
      checkpoint.
    """

    config: dict[str, Any]
    carry: Any
    training: training.Task
    introduce: Callable[[Path, Any, int], None]
    conclude: Callable[[Path, Any, list[str]], None]


def train(
    task: str,
    defaults: Any,
    given: dict[str, Any],
    prepare: Callable[[Any, dict | None, Path | None], Prepared],
    settings_of: Callable[[dict, Path], Any],
    folder: Folder,
    reporter: Reporter,
) -> bool:
    """Trains a task's model, or goes on with one; returns whether it came to its end.

    - `task`: its name, as in `jbptt train chars`.
    - `defaults`, `given`: the settings, and those that the user gave.
    - `prepare(settings, before, run)`: `before` and `run` are the config and the folder of the run that goes on.
    - `settings_of(config, run)`: the settings in a config.

    Raises UserError for anything that the user can mend.
    """
    settings, before, run = defaults._replace(**given), None, None
    if folder.resume:
        run = existing_run_folder(folder.out, task)
        before = read_config(run, task)
        settings = resumed(settings_of(before, run), given, run)
    use_dtype(settings)
    prepared = prepare(settings, before, run)
    run = new_run_folder(folder.out, task) if run is None else run
    carry, start = prepared.carry, 0
    config = {"task": task, "settings": settings._asdict()} | prepared.config
    if before is None:  # first of all: a killed run's folder can then be gone on with
        write_atomically(run / "config.json", json.dumps(config, indent=1))
    with Checkpoints(run) as checkpoints:
        if before is not None:
            if (latest := checkpoints.latest_step()) is not None:
                carry, start = checkpoints.restore(latest, carry), latest
            write_atomically(run / "config.json", json.dumps(config, indent=1))  # of as many steps as it may have now
        prepared.introduce(run, carry, start)
        outcome = training.train(prepared.training, carry, start, run, checkpoints, reporter)
        if outcome.out_of_patience and (best := checkpoints.best_step()) is not None:
            reporter.say(
                "stopped",
                f"stopped at step {outcome.step}: no validation was better than that at step {best}, whose weights are "
                "taken",
                step=outcome.step,
                best=best,
            )
            outcome = outcome._replace(carry=checkpoints.restore(best, outcome.carry))
    if outcome.interrupted:
        command = shlex.join(["jbptt", "train", task, "--resume", "--out", str(run)])
        reporter.say(
            "interrupted",
            f"interrupted at step {outcome.step}: checkpoint saved in {run}; go on with: {command}",
            step=outcome.step,
            run=str(run),
        )
        return False
    prepared.conclude(run, outcome.carry, ["--best"] if outcome.out_of_patience else [])
    return True


def run_of(checkpoint: Path) -> tuple[Path, int | None]:
    """(a run's folder, the step) of what the user names: a run, its newest checkpoint meant (None), or a checkpoint."""
    if checkpoint.absolute().parent.name == "checkpoints" and checkpoint.name.isdecimal():
        return checkpoint.absolute().parent.parent, int(checkpoint.name)
    return checkpoint, None


def restored(run: Path, step: int | None, start: Callable[[], Any], *, best: bool = False) -> tuple[Path, Any]:
    """(the checkpoint's folder, its carry) of a run's step; for None of the newest, or of the best, the one with the
    least validation loss. Raises UserError if there is none.

    - `start`: makes the carry that training starts from, of which nothing is drawn here, or compiled: its shapes are
      asked for.
    """
    if not (run / "checkpoints").is_dir():
        raise UserError(f"{run} has no checkpoint yet")
    with Checkpoints(run) as checkpoints:
        if best and step is not None:
            raise UserError(f"--best is one of a run's checkpoints: name the run, {run}, without a checkpoint")
        if step is None:
            step = checkpoints.best_step() if best else checkpoints.latest_step()
        if step is None:
            raise UserError(f"{run} has no checkpoint yet")
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda leaf: leaf.update(sharding=here), jax.eval_shape(start))
        return run / "checkpoints" / str(step), checkpoints.restore(step, like)


def use_dtype(settings: Any) -> None:
    """Lets JAX have float64 where the settings ask for it."""
    if settings.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
