"""What every contestant trains: sizes, weights to start from, a text."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.settings import Settings

CHUNKS = 40
"""Of the text, which then begins again."""


class Sizes(NamedTuple):
    """T characters of B streams, H units of each of L layers, K characters in the vocabulary."""

    T: int
    B: int
    H: int
    L: int
    K: int

    def __str__(self):
        return "x".join(map(str, self))


GRID = (
    Sizes(64, 16, 128, 1, 222),  # `jbptt train chars` by default
    Sizes(50, 50, 128, 1, 65),
    Sizes(50, 50, 256, 2, 65),
    Sizes(50, 50, 512, 1, 65),
)


class StepProblem(NamedTuple):
    """- `weights`: {"layers": [{"U", "W", "b"}], "output": {"w" [H, K], "b" [K]}}, NumPy's.
    - `stream`: [N, B], int32.
    """

    sizes: Sizes
    weights: dict[str, Any]
    stream: np.ndarray

    def chunk(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) of step 0, 1, ..., [T, B] each."""
        start = number % CHUNKS * self.sizes.T
        return self.stream[start : start + self.sizes.T], self.stream[start + 1 : start + self.sizes.T + 1]


def settings_of(sizes: Sizes, vjp: str = "manual") -> Settings:
    """Adam at a constant rate, the gradient's norm clipped."""
    T, B, H, L, _ = sizes
    return Settings(length=T, batch=B, hidden=H, layers=L, schedule="constant", vjp=vjp)


def random_problem(sizes: Sizes, seed: int = 0) -> StepProblem:
    """Random characters that depend on those before them, so that there is something to learn."""
    draw = np.random.default_rng(seed)
    noise = draw.integers(0, 3, (CHUNKS * sizes.T + 1, sizes.B))
    stream = (np.cumsum(noise, axis=0) % sizes.K).astype(np.int32)
    params = model.init(settings_of(sizes), sizes.K).params
    return StepProblem(sizes, jax.tree.map(np.asarray, params), stream)


def flops(sizes: Sizes) -> int:
    """Those of a step's products, forward and back, a one-hot row's being none."""
    T, B, H, L, K = sizes
    layers = 4 * H * H * (2 * L - 1)  # W of each, and U of all but the lowest
    return 3 * 2 * T * B * (layers + H * K)
