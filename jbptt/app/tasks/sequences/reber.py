"""The embedded Reber grammar (Hochreiter and Schmidhuber 1997, experiment 1): what symbol may come next?

A string is B, then T or P, a string of the Reber grammar, the T or P of before, and E. The symbol before the last is
known to who remembers the second, and half the time to who does not. Strings are those of a fair walk through the
grammar, given that their lengths are within bounds.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.tasks.sequences.outputs import Output, class_at_each_step
from jbptt.app.tasks.sequences.task import TEST, VALIDATION, Batch, Problem, Task, check_steps, held_out

SYMBOLS = "BTSXPVE"
REBER = ["B1", "T2 P3", "S2 X4", "T3 V5", "X3 S6", "P4 V6", "E7"]
"""The ways from each node: a symbol, and the node it leads to."""
SHORTEST = 9


class Settings(NamedTuple):
    shortest: Annotated[int, "Symbols that a string has at least."] = SHORTEST
    longest: Annotated[int, "Symbols that a string has at most."] = 50
    hidden: shared.Hidden = 32
    batch: Annotated[int, "Strings a step."] = 16
    steps: shared.Steps = 2000
    schedule: shared.Schedule = "constant"


def _embedded():
    """(the symbols, the nodes they lead to) of every node's two ways, [nodes, 2]; one way alone stands twice."""
    nodes, end = [[("B", 1)], [("T", 2), ("P", 10)]], 19
    for framing, start in (("T", 2), ("P", 10)):
        nodes += [[(way[0], start + int(way[1])) for way in ways.split()] for ways in REBER]
        nodes.append([(framing, end - 1)])
    nodes += [[("E", end)], [("E", end)]]  # the end stays where it is
    ways = [(of_node * 2)[:2] for of_node in nodes]
    symbols = np.array([[SYMBOLS.index(symbol) for symbol, _ in of_node] for of_node in ways])
    return symbols, np.array([[node for _, node in of_node] for of_node in ways])


EMITS, LEADS = _embedded()
LEGAL = np.eye(len(SYMBOLS), dtype=bool)[EMITS].any(axis=1)
"""Whether a symbol may come at a node, [nodes, 7]."""


def ends_in(longest: int) -> np.ndarray:
    """The probability that a walk from each node has so many symbols, [longest + 1, nodes]."""
    ends = np.zeros((longest + 1, len(LEADS)))
    ends[0, -1] = 1
    for length in range(1, longest + 1):
        ends[length, :-1] = ends[length - 1][LEADS[:-1]].mean(axis=1)
    return ends


def draw(shortest: int, longest: int, key: jax.Array, batch: int) -> Batch:
    """Inputs [T, B]: strings without their last symbols. Targets: the symbols that follow, [T, B], and which of them
    may, [T, B, 7]."""
    of_length, of_walk = jax.random.split(key)
    ends = jnp.asarray(ends_in(longest), jnp.float32)
    emits, leads, legal = jnp.asarray(EMITS, jnp.int32), jnp.asarray(LEADS, jnp.int32), jnp.asarray(LEGAL)
    possible = jnp.where(jnp.arange(longest + 1) >= shortest, ends[:, 0], 0)
    lengths = jax.random.categorical(of_length, jnp.log(possible), shape=(batch,))

    def step(node, now):
        key, left = now  # symbols, this one too
        first, second = jnp.moveaxis(ends[jnp.maximum(left - 1, 0)[:, None], leads[node]], 1, 0)
        way = (jax.random.uniform(key, (batch,), jnp.float32) * (first + second) >= first).astype(jnp.int32)
        return leads[node, way], (emits[node, way], legal[node])

    left = lengths - jnp.arange(longest)[:, None]
    start = jnp.zeros(batch, jnp.int32)
    _, (symbols, may) = jax.lax.scan(step, start, (jax.random.split(of_walk, longest), left))
    return Batch(symbols[:-1], (symbols[1:], may[1:]), (lengths - 1).astype(jnp.int32))


def _output() -> Output:
    """The following symbol, by its cross entropy. Right is to give all symbols that may follow more than the others."""
    plain = class_at_each_step(len(SYMBOLS), "symbol")

    def right(z, targets):
        _, may = targets
        return jnp.min(z, axis=-1, where=may, initial=jnp.inf) > jnp.max(z, axis=-1, where=~may, initial=-jnp.inf)

    return plain._replace(total=lambda z, targets, *options: plain.total(z, targets[0], *options), right=right)


def problem(settings: Any) -> Problem:
    check_steps(settings, "shortest", SHORTEST)
    check_steps(settings, "longest", settings.shortest)

    def drawn(key, batch):
        return draw(settings.shortest, settings.longest, key, batch)

    return Problem(
        inputs=len(SYMBOLS),
        output=_output(),
        draw=lambda key: drawn(key, settings.batch),
        validation=held_out(drawn, VALIDATION),
        tests={"held out": held_out(drawn, TEST)},
        baselines={"who forgets the second symbol": 1 / 2},
    )


TASK = Task(
    "reber",
    "Train a model to say what may come next in strings of the embedded Reber grammar.",
    Settings,
    problem,
    figure="exact",
    run_of_right=2000,
)
