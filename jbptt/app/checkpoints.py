"""Checkpoints: pytrees of arrays on disk, by orbax. Written atomically; reading one executes no code."""

import logging
import sys
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jbptt.app.errors import UserError

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells its every move


class Checkpoints:
    """The checkpoints of one run, in its folder `checkpoints`; the newest two are kept. A context manager."""

    def __init__(self, run: Path):
        self.folder = (run / "checkpoints").absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays as the checkpoint of `step`, unless that is there already."""
        if step != self.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(tree))

    def restore(self, step: int, like: Any) -> Any:
        """The pytree saved at `step`, with the structure, shapes and dtypes of `like`.

        Raises UserError if there is no such checkpoint, or if it is damaged or of another configuration.
        """
        steps = sorted(self._manager.all_steps())
        if step not in steps:
            raise UserError(
                f"{self.folder} has no checkpoint {step}: there is {' and '.join(map(str, steps)) or 'none'}"
            )
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        path = self.folder / str(step)
        if self._saved_as(step) not in (None, _shapes_and_dtypes(like)):
            raise UserError(f"checkpoint {path} is of another configuration than config.json: was that changed?")
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(template))
        except Exception as error:  # what orbax raises depends on which byte is missing
            _silence_what_orbax_leaves_behind()
            before = [each for each in steps if each < step]
            remedy = f"delete it to go on from {before[-1]}" if before else "there is none before it"
            raise UserError(f"checkpoint {path} is damaged: {remedy}") from error

    def _saved_as(self, step):
        """The shapes and dtypes in the checkpoint of `step`; None if they cannot be read."""
        try:
            return _shapes_and_dtypes(self._manager.item_metadata(step))
        except Exception:  # a damaged one, which restoring will tell of
            return None


def _shapes_and_dtypes(tree):
    return sorted(
        (jax.tree_util.keystr(path, simple=True, separator="."), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )


def _silence_what_orbax_leaves_behind():
    """Reads that were still under way when another one failed: each would print a traceback when it is collected."""
    sys.unraisablehook = lambda unraisable: None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
