"""`jbptt export` and `jbptt import`: a run of the character model as one safetensors file, and back.

The file is `jbptt.save`'s: the checkpoint's parameters, {"layers", "output"}, and with them the layers, the step and
the run's config.json, but for the places of its texts, which are one machine's. The optimiser's state is not in it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax

from jbptt import checks
from jbptt.app import runs
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.errors import UserError
from jbptt.app.files import new_run_folder, read_config
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.run import initial_carry, settings_of
from jbptt.interop.files import load, save
from jbptt.interop.writing import write_atomically


def export_run(path: Path, file: Path, best: bool) -> None:
    """Writes a checkpoint's parameters, and what they belong to, into `file`.

    - `path`: the folder of a run, whose newest checkpoint is taken, or the `best`; or one of its checkpoints.

    Raises UserError for anything that the user can mend.
    """
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise UserError(f"{file} cannot be written: name a file in a folder that is there")
    run, step = runs.run_of(path)
    config = read_config(run, "chars")
    settings = settings_of(config, run)
    runs.use_dtype(settings)
    start = partial(initial_carry, settings, len(config["vocabulary"]))
    checkpoint, carry = runs.restored(run, step, start, best=best)
    about = {"layers": [model.cell_of(settings)] * settings.layers, "step": int(checkpoint.name)}
    with _told(file):
        save(file, carry.params, about | {"run": {name: config[name] for name in config if name != "texts"}})


def import_run(file: Path, out: Path | None) -> Path:
    """Makes a run of what `export_run` wrote: its config.json, and one checkpoint, from which `jbptt sample` writes,
    and training goes on if it is given the text, with an optimiser that starts anew. Returns its folder.

    - `out`: the folder, which must be new or empty; the next free one if not given.

    Raises UserError for anything that the user can mend.
    """
    with _told(file), jax.enable_x64(True):  # whatever the dtype, it is kept
        params, about = load(file)
        config = about.get("run") if isinstance(about, dict) else None
        if not isinstance(config, dict) or config.get("task") != "chars" or "settings" not in config:
            raise ValueError(f"{file} holds no run of train chars: jbptt export did not write it")
        checks.integer(f"{file}: step", about.get("step"))
        if not 0 <= about["step"] <= checks.LARGEST_INDEX:
            raise ValueError(f"{file}: step must be from 0 to {checks.LARGEST_INDEX}, got {about['step']}")
    config |= {"texts": []}
    settings = settings_of(config, file)
    runs.use_dtype(settings)
    start = partial(initial_carry, settings, len(config["vocabulary"]))
    with _told(file):  # before there are as many layers, or arrays of what sizes, as the file says
        if len(jax.tree.leaves(params)) < settings.layers:
            raise ValueError(f"{file}: params have fewer arrays than the run's settings have layers")
        like = jax.eval_shape(start).params
        params = checks.like(f"{file}: params", params, like, "they are not of the run's settings")
    run = new_run_folder(out, "chars")
    write_atomically(run / "config.json", json.dumps(config, indent=1))
    with Checkpoints(run) as checkpoints:
        checkpoints.save(about["step"], start()._replace(params=params))
    return run


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Turns what `save` and `load` raise into UserErrors."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read or written: {error.strerror}") from None
