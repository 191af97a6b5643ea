"""The sizes that are measured."""

from jbptt.comparison.rows import Sizes

GRID = tuple(
    Sizes(*numbers)
    for numbers in (
        (1000, 1, 32, 64),
        (256, 4, 64, 128),
        (128, 16, 64, 128),
        (128, 32, 128, 128),
        (1000, 16, 64, 64),
        (100, 64, 256, 256),
        (20, 256, 64, 256),
        (64, 8, 1024, 1024),
        (100, 64, 512, 512),
    )
)
"""From one long sequence with small weights to large batches and large weights."""

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def flops(cell: str, sizes: Sizes, *, gradients: bool) -> float:
    """Floating point operations of the matrix products: x U and h W forward, and twice as many for the gradients."""
    forward = 2.0 * sizes.T * sizes.B * (sizes.I + sizes.H) * GATES[cell] * sizes.H
    return 3 * forward if gradients else forward
