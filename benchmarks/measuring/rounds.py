"""Interleaved rounds: everybody takes a turn, in an order drawn anew each round, so that noise falls on all alike."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.measuring.runners import Runner

TURN_S = 0.02
"""A turn is as many calls as fill this, and one before them that is not timed if it is short."""
FEWEST_ROUNDS = 3
PAUSE_S = 0.005
"""Before each turn: idle threads of the runtime whose turn it was spin for about a millisecond before they sleep."""


class Times(NamedTuple):
    """- `ms`, `q1`, `q3`: milliseconds a call, the median of the rounds and their quartiles.
    - `busy_threads`: processor seconds a wall second, the median.
    - `rounds`, `calls`: how many rounds, and calls a round.
    """

    ms: float
    q1: float
    q3: float
    busy_threads: float
    rounds: int
    calls: int


def interleave(
    runners: dict[str, Runner], mode: str, *, rounds: int, seconds: float, pause: float = PAUSE_S
) -> dict[str, Times]:
    """Times every runner: at most `rounds` rounds, fewer (but FEWEST_ROUNDS) where `seconds` are used up before."""
    calls = {name: _calls(runner, mode) for name, runner in runners.items()}
    turns = {name: [] for name in runners}
    rng, start = np.random.default_rng(0), time.perf_counter()
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
            break
        for name in rng.permutation(list(runners)):
            time.sleep(pause)
            if calls[name] > 1:  # as in training, where a step follows a step: caches and threads are its own
                runners[name].measure(mode, 1)
            turns[name].append(runners[name].measure(mode, calls[name]))
    return {name: _times(turns[name], calls[name]) for name in runners}


def in_turns(programs: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, dict[str, float]]:
    """{"q1", "ms", "q3"} of each compiled program, milliseconds a call: one call a round, in an order drawn anew."""
    ms = {name: [] for name in programs}
    names, rng = list(programs), np.random.default_rng(0)
    for _ in range(rounds + 1):
        for number in rng.permutation(len(names)):
            start = time.perf_counter()
            jax.block_until_ready(programs[names[number]]())
            ms[names[number]].append((time.perf_counter() - start) * 1e3)
    quartiles = {name: np.quantile(times[1:], [0.25, 0.5, 0.75]) for name, times in ms.items()}
    return {name: dict(zip(("q1", "ms", "q3"), map(float, values), strict=True)) for name, values in quartiles.items()}


def _calls(runner, mode):
    runner.measure(mode, 1)
    return max(1, math.ceil(TURN_S / runner.measure(mode, 1)[0]))


def _times(turns, calls):
    wall, cpu = np.array(turns).T
    q1, median, q3 = np.quantile(wall * 1e3, [0.25, 0.5, 0.75])
    return Times(float(median), float(q1), float(q3), float(np.median(cpu / wall)), len(turns), calls)
