"""`jbptt plot gradients`: how far a gradient reaches back through time, at initialisation.

    J^{T,t} = ∂s^T/∂h^t        s: the cell state c of a cell that has one, else h        t = T−1, .., 0

‖J‖, the spectral norm, is the most by which a change of h^t changes s^T: for long spans it vanishes, explodes, or
neither (Hochreiter 1991; Bengio 1994; Pascanu 2013). Along t it is a product of one Jacobian a step, which the
hand-derived `vjp` of `jbptt.step` multiplies from the last step to the first.

T time, I inputs, H units.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jbptt.app.errors import UserError
from jbptt.cells.elman import rnn
from jbptt.cells.gru import gru
from jbptt.cells.lstm import lstm, lstm_cell
from jbptt.cells.rule import Cell, Params, State
from jbptt.unrolling import step

INPUT_SIZE = 2
COPIES = 3
"""Of the Jacobians, [T, H, H], that are there at once: as they come, in the order of norms, and being decomposed."""
RADII = (0.5, 0.9, 1.0, 1.2)
FORGET_BIASES = (-1.0, 0.0, 1.0, 3.0)


def norms(cell: Cell, params: Params, xs: jax.Array) -> jax.Array:
    """‖∂s^T/∂h^t‖, spectral, for every t from T−1 down to 0: [T], the first of one step, the last of T.

    - `cell`: its state's s is `c` if there is one, else `h`.
    - `params`: as `cell.init` makes them, or trained.
    - `xs`: [T, I], one sequence, T ≥ 1. The state starts from zeros.
    """
    start = cell.initial_state(params, ())

    def last(shifts):
        """s^T [H], with each h^t shifted as it enters the step after it."""

        def shifted_step(state, x_and_shift):
            x, shift = x_and_shift
            state, _ = step(cell, params, state._replace(h=state.h + shift), x)
            return state, None

        state, _ = lax.scan(shifted_step, start, (xs, shifts))
        return getattr(state, field_of(state))

    s, vjp = jax.vjp(last, jnp.zeros((len(xs), *start.h.shape), xs.dtype))
    (jacobians,) = jax.vmap(vjp)(jnp.eye(len(s), dtype=s.dtype))  # [H, T, H]: a way back for each unit of s^T
    return jnp.linalg.norm(jnp.swapaxes(jacobians, 0, 1), ord=2, axis=(1, 2))[::-1]


def field_of(state: State) -> str:
    """Which field of a state is s."""
    return "c" if "c" in state._fields else "h"


class Reach(NamedTuple):
    """How far the gradient of a cell reaches back, over several seeds.

    - `cell`, `setting`: what it is of, as "rnn" and "spectral radius 0.9".
    - `field`: s, "c" or "h".
    - `median`, `least`, `most`: [T], of ‖∂s^T/∂h^t‖, the first of one step back, the last of T.
    """

    cell: str
    setting: str
    field: str
    median: np.ndarray
    least: np.ndarray
    most: np.ndarray


def reaches(length: int, hidden_size: int, seeds: int) -> Iterator[Reach]:
    """A curve each: RNNs of several spectral radii of W, LSTMs of several forget biases, and a GRU, at initialisation.

    Inputs are standard normal, two a step. In float64: what has vanished may be too small for float32.

    Raises UserError for more than this machine has the memory for.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 8 * length * hidden_size**2 * COPIES > memory:
        raise UserError(
            f"--length {length} and --hidden {hidden_size} need more than this machine's {memory / 2**30:.0f} GiB of "
            "memory: ask for less"
        )
    for cell, setting, init in _starts():
        # a seed after the other: at once they would hold as many [T, H, H]
        of_seeds = np.array([norms_of_seed(cell, init, length, hidden_size, seed) for seed in range(seeds)])
        state = cell.initial_state(init(jax.random.key(0), INPUT_SIZE, 1), ())
        yield Reach(cell.name, setting, field_of(state), np.median(of_seeds, 0), of_seeds.min(0), of_seeds.max(0))


def _starts() -> Iterator[tuple[Cell, str, Callable[..., Params]]]:
    for radius in RADII:
        yield rnn, f"spectral radius {radius:g}", partial(scaled_init, radius)
    for bias in FORGET_BIASES:
        yield lstm, f"forget bias {bias:g}", lstm_cell(forget_bias=bias).init
    yield gru, "", gru.init


def scaled_init(radius: float, *args: Any) -> Params:
    """The RNN's start, whose W is orthogonal and so of spectral radius 1, with one of this spectral radius."""
    params = rnn.init(*args)
    return params | {"W": radius * params["W"]}


def norms_of_seed(cell: Cell, init: Callable[..., Params], length: int, hidden_size: int, seed: int) -> np.ndarray:
    """`norms` [T] of a cell at initialisation, in float64, on `length` standard normal inputs, two a step."""
    with jax.enable_x64(True):
        for_params, for_xs = jax.random.split(jax.random.key(0))
        params = init(jax.random.fold_in(for_params, seed), INPUT_SIZE, hidden_size, jnp.float64)
        xs = jax.random.normal(jax.random.fold_in(for_xs, seed), (length, INPUT_SIZE), jnp.float64)
        return np.asarray(_compiled_norms(cell, params, xs))


_compiled_norms = jax.jit(norms, static_argnums=0)


COLUMNS = ("cell", "setting", "field", "steps_back", "median", "least", "most")


def csv_of(all_reaches: list[Reach]) -> str:
    """A row a step of each curve."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell, setting, field, *of_steps in all_reaches:
        for back, figures in enumerate(zip(*of_steps, strict=True), 1):
            writer.writerow([cell, setting, field, back, *(f"{figure:.6g}" for figure in figures)])
    return text.getvalue()
