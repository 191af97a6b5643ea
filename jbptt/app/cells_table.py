"""`jbptt cells`: what every cell has for parameters and state, and where its equations are from."""

from collections.abc import Iterator
from typing import Any

import jax

from jbptt.cells.table import CELLS

HEADINGS = ("cell", "parameters", "state", "equations")
WIDTHS = (18, 10, 44, 42)


def rows(input_size: int, hidden_size: int) -> Iterator[dict[str, Any]]:
    """One flat dict a cell; for one that cannot have these sizes, with the reason."""
    for name, cell in CELLS.items():
        try:
            params = jax.eval_shape(lambda key, cell=cell: cell.init(key, input_size, hidden_size), jax.random.key(0))
        except ValueError as error:
            yield {"cell": name, "parameters": None, "reason": str(error), "equations": cell.reference}
            continue
        state = jax.eval_shape(lambda params, cell=cell: cell.initial_state(params, ()), params)
        yield {
            "cell": name,
            "parameters": sum(leaf.size for leaf in params.values()),
            "shapes": {key: list(leaf.shape) for key, leaf in params.items()},
            "state": {field: list(leaf.shape) for field, leaf in state._asdict().items()},
            "equations": cell.reference,
        }


def texts(row: dict[str, Any]) -> list[str]:
    """One row as the texts under HEADINGS."""
    if "reason" in row:
        return [row["cell"], "", row["reason"], row["equations"]]
    state = ", ".join(f"{field} {shape}" for field, shape in row["state"].items())
    return [row["cell"], f"{row['parameters']:,}", state, row["equations"]]
