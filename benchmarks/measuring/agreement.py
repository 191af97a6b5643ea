"""Agreement comes before time: every output and every gradient against the float64 reference."""

import numpy as np

from jbptt.comparison.pair import leaf_errors

TOLERANCES = {"float32": 2e-5, "tf32": 2e-2, "bfloat16": 1e-1, "float16": 2e-2}
"""Of max |got − reference| / max |reference|, for each leaf."""


def worst(found: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest relative error, and the leaf that has it. Raises ValueError if leaves or shapes differ."""
    errors = leaf_errors(found, reference)
    leaf = max(errors, key=errors.get)
    return errors[leaf], leaf
