"""Agreement comes before time: every output and every gradient against the float64 reference."""

from typing import Any

import click
import numpy as np

from benchmarks.problem import Problem, reference
from jbptt.comparison.pair import leaf_errors

TOLERANCES = {"float32": 2e-5, "tf32": 2e-2, "bfloat16": 1e-1, "float16": 2e-2}
"""Of max |got − reference| / max |reference|, for each leaf."""


def worst(found: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest relative error, and the leaf that has it. Raises ValueError if leaves or shapes differ."""
    errors = leaf_errors(found, reference)
    leaf = max(errors, key=errors.get)
    return errors[leaf], leaf


def require(runners: dict[str, Any], problem: Problem) -> None:
    """Raises click.ClickException unless all outputs and gradients of every runner agree with float64."""
    expected = reference(problem)
    for name, runner in runners.items():
        error, leaf = worst(runner.results(), expected)
        if not error <= TOLERANCES["float32"]:
            raise click.ClickException(f"{problem.cell} {problem.sizes}: {leaf} of {name} is off by {error:.1e}")
