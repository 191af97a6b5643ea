"""Checkpoints: pytrees of arrays on disk, by orbax. Written atomically; reading one executes no code."""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jbptt.app.errors import UserError

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells its every move


class Checkpoints:
    """The checkpoints of one run, in its folder `checkpoints`; the newest two are kept."""

    def __init__(self, run: Path):
        self.folder = (run / "checkpoints").absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays as the checkpoint of `step`, unless that is there already."""
        if step != self.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(tree))

    def restore(self, step: int, like: Any) -> Any:
        """The pytree saved at `step`, with the structure, shapes and dtypes of `like`.

        Raises UserError if the checkpoint is damaged, missing, or of another configuration.
        """
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            tree = self._manager.restore(step, args=ocp.args.StandardRestore(template))
        except Exception as error:  # what orbax raises depends on which byte is missing
            reason = " ".join(str(error).split())[:200]
            path = self.folder / str(step)
            raise UserError(f"checkpoint {path} is damaged, or of another configuration: {reason}") from error
        mismatched = [
            a for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True) if a.shape != b.shape
        ]
        if mismatched:
            raise UserError(f"checkpoint {self.folder / str(step)} has other sizes than its config.json")
        return tree
