"""Checkpoints: pytrees of arrays on disk, by orbax. Written atomically; reading one executes no code."""

import logging
import sys
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from jbptt.app.errors import UserError

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells its every move

VALIDATION = "validation_nats"


class Checkpoints:
    """The checkpoints of one run, in its folder `checkpoints`; the newest two are kept, and the best: the one with the
    least validation loss. A context manager."""

    def __init__(self, run: Path):
        self.folder = (run / "checkpoints").absolute()
        best = policy.BestN(get_metric_fn=_goodness, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy([policy.LatestN(2), best]),
            best_fn=_goodness,
            enable_async_checkpointing=False,
        )
        try:
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
            )
        except ValueError as error:  # it reads every checkpoint's validation loss
            raise UserError(f"a checkpoint in {self.folder} is damaged, its validation loss: delete it") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step of the best checkpoint; None if there is none, or none that was saved with its validation loss."""
        best = self._manager.best_step()
        return None if best is None or self._manager.metrics(best) is None else best

    def save(self, step: int, tree: Any, validation_nats: float | None = None) -> None:
        """Saves a pytree of arrays as the checkpoint of `step`, unless that is there already, with its validation loss
        where that is known."""
        if step != self.latest_step():
            metrics = None if validation_nats is None else {VALIDATION: validation_nats}
            self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=metrics)

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


def _goodness(metrics):
    return -metrics[VALIDATION]


def _shapes_and_dtypes(tree):
    return sorted(
        (jax.tree_util.keystr(path, simple=True, separator="."), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )


def _silence_what_orbax_leaves_behind():
    """Reads that were still under way when another one failed: each would print a traceback when it is collected."""
    sys.unraisablehook = lambda unraisable: None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
