"""Data that are not drawn anew: what packages ship, told apart point by point.

T time, N sequences.
"""

from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np

from jbptt.app.errors import UserError
from jbptt.app.tasks.sequences.outputs import class_at_end
from jbptt.app.tasks.sequences.task import Batch, Problem, in_parts, sampled


def shipped(module: str) -> Any:
    """A module of a package that brings data. Raises UserError if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise UserError(f"this task needs the package of {module}: pip install 'jbptt[tasks]'") from None


def classification(settings: Any, points: np.ndarray, classes: np.ndarray, validation: int, test: int) -> Problem:
    """To tell the class of sequences, a point a step, beside logistic regression on all of their points.

    - `points` [N, T], `classes` [N]: the last `test` of them for the test, and those before for validation.
    """
    of_each = [len(points) - validation - test, len(points) - test]
    xs, ys = np.split(points.astype(np.float32), of_each), np.split(classes.astype(np.int32), of_each)
    learned, validated, tested = (
        Batch(jnp.asarray(x.T[..., None]), jnp.asarray(y)) for x, y in zip(xs, ys, strict=True)
    )
    output = class_at_end(len(np.unique(classes)))
    logistic = shipped("sklearn.linear_model").LogisticRegression(max_iter=500)
    with shipped("threadpoolctl").threadpool_limits(1):  # more of them take longer for so little
        logistic.fit(xs[0], ys[0])
    return Problem(
        inputs=1,
        output=output,
        draw=sampled(learned, output, settings.batch),
        validation=in_parts(validated, output),
        tests={"held out": in_parts(tested, output)},
        baselines={"logistic regression": float(logistic.score(xs[2], ys[2]))},
    )
