"""One point of the grid: a cell at a size, with the weights, inputs and cotangents that every contestant gets.

T time, B batch, I inputs, H units, G gates.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants import plain
from jbptt.comparison.pair import value_and_gradients

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
CELLS = tuple(GATES)
MODES = ("forward", "gradients")
"""The value alone; the value and the gradients of all parameters, inputs and initial states."""


class Sizes(NamedTuple):
    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


GRID = tuple(
    Sizes(*sizes)
    for sizes in (
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


class Problem(NamedTuple):
    """NumPy arrays, so that they travel to another process and to any library.

    - `weights`: canonical, see contestants/protocol.py.
    - `xs`: [T, B, I].
    - `state`: (h,) or (h, c), [B, H] each.
    - `cotangents`: (one for every field of the last state, one for hs [T, B, H]).
    """

    cell: str
    sizes: Sizes
    weights: dict[str, np.ndarray]
    xs: np.ndarray
    state: tuple[np.ndarray, ...]
    cotangents: tuple[tuple[np.ndarray, ...], np.ndarray]


def random_problem(cell: str, sizes: Sizes, dtype: Any = jnp.float32, seed: int = 0) -> Problem:
    """Weights uniform in ±1/√H (PyTorch's own default), everything else standard normal: cotangents on all outputs."""
    rng = np.random.default_rng(seed)
    T, B, I, H = sizes
    G = GATES[cell]

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32).__truediv__(np.float32(H**0.5)).astype(dtype)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32).astype(dtype)

    weights = {"U": uniform(I, G * H), "W": uniform(H, G * H), "b": uniform(G * H)}
    if cell == "gru":
        weights["bn"] = uniform(H)
    fields = 2 if cell == "lstm" else 1
    state, dstate = (tuple(normal(B, H) for _ in range(fields)) for _ in range(2))
    return Problem(cell, sizes, weights, normal(T, B, I), state, (dstate, normal(T, B, H)))


def flops(cell: str, sizes: Sizes, mode: str) -> float:
    """Of the products that the equations have: x U and h W; backward, as much again for δ and for the weights."""
    T, B, I, H = sizes
    return (3 if mode == "gradients" else 1) * 2.0 * T * B * (I + H) * GATES[cell] * H


def reference(problem: Problem) -> dict[str, np.ndarray]:
    """Outputs and gradients in float64, by the plain scan, which shares no code with the library."""
    with jax.enable_x64(True):
        weights, xs, state, cotangents = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), tuple(problem[2:])
        )
        contestant = plain.build(problem.cell, weights)
        found = jax.jit(value_and_gradients(contestant.function))((weights, xs, state), cotangents)
        return canonical(found["output"], found["gradient"], found["output"])


def canonical(output: Any, gradient: Any, forward_output: Any) -> dict[str, np.ndarray]:
    """{"hs", "h", "c", "dU", "dW", "db", "dbn", "dxs", "dh", "dc", and "forward hs", of the program without
    gradients}, from time-major outputs and canonical gradients."""
    (state, hs), (dweights, dxs, dstate) = output, gradient
    found = {"forward hs": forward_output[1], "hs": hs, "dxs": dxs}
    found |= {f"d{name}": array for name, array in dweights.items()}
    found |= dict(zip("hc", state, strict=False))
    found |= {f"d{name}": array for name, array in zip("hc", dstate, strict=False)}
    return {name: np.asarray(array) for name, array in found.items()}
