"""What every contestant trains: sizes, weights to start from, a text; or pairs of texts."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import Corpus, streams
from jbptt.app.tasks.chars.settings import Settings
from jbptt.app.tasks.translation import model as translation
from jbptt.app.tasks.translation.pairs import Batch
from jbptt.app.tasks.translation.settings import Settings as TranslationSettings

CHUNKS = 40
"""Of what is drawn at random, which then begins again."""


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

    @property
    def settings(self) -> Settings:
        return settings_of(self.sizes)

    def chunk(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) of step 0, 1, ..., [T, B] each."""
        return model.chunk_of(number, self.stream, self.sizes.T)[:2]


class DatesProblem(NamedTuple):
    """- `sizes`: "dates SxTxBxH".
    - `weights`: {attention: `seq2seq_init`'s}, NumPy's.
    """

    sizes: str
    settings: TranslationSettings
    weights: dict[str, Any]
    batches: list[Batch]

    def chunk(self, number: int) -> tuple[Batch]:
        """(batch,) of step 0, 1, ...."""
        return (self.batches[number % len(self.batches)],)


def settings_of(sizes: Sizes) -> Settings:
    """Adam at a constant rate, the gradient's norm clipped."""
    T, B, H, L, _ = sizes
    return Settings(length=T, batch=B, hidden=H, layers=L, schedule="constant")


def random_problem(sizes: Sizes, seed: int = 0) -> StepProblem:
    """Random characters that depend on those before them, so that there is something to learn."""
    draw = np.random.default_rng(seed)
    noise = draw.integers(0, 3, (CHUNKS * sizes.T + 1, sizes.B))
    stream = (np.cumsum(noise, axis=0) % sizes.K).astype(np.int32)
    return StepProblem(sizes, _weights(sizes), stream)


def text_problem(corpus: Corpus, sizes: Sizes) -> StepProblem:
    """A text's training split."""
    return StepProblem(sizes, _weights(sizes), streams(corpus.train, sizes.B))


def dates_problem(**given: Any) -> DatesProblem:
    """`jbptt train dates` by default, its two models side by side, but at a constant rate; or with settings `given`."""
    from jbptt.app.tasks.translation.dates import dates_data  # Babel

    settings = TranslationSettings(schedule="constant")._replace(**given)
    encoding, of_step, *_ = dates_data(settings.batch, settings.seed)
    learners = translation.init(settings, encoding).learners
    weights = {name: jax.tree.map(np.asarray, learner.params) for name, learner in learners.items()}
    sizes = "x".join(map(str, (encoding.source_size, encoding.target_size, settings.batch, settings.hidden)))
    return DatesProblem(f"dates {sizes}", settings, weights, [encoding.batch(of_step(n)) for n in range(CHUNKS)])


def _weights(sizes):
    return jax.tree.map(np.asarray, model.init(settings_of(sizes), sizes.K).params)


def flops(sizes: Sizes) -> int:
    """Those of a step's products, forward and back, a one-hot row's being none."""
    T, B, H, L, K = sizes
    layers = 4 * H * H * (2 * L - 1)  # W of each, and U of all but the lowest
    return 3 * 2 * T * B * (layers + H * K)
