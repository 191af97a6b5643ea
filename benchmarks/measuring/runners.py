"""A runner holds a contestant ready to run at one point of the grid; every runner has the same three methods."""

import contextlib
import time
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants.protocol import Contestant
from benchmarks.problem import Problem, canonical
from jbptt.comparison.pair import value_and_gradients


class Runner(Protocol):
    note: str

    def facts(self, mode: str) -> dict[str, Any]:
        """`compile_s`, `temp_bytes`, `threads_set`: those of them that are known."""

    def results(self) -> dict[str, np.ndarray]:
        """Outputs and gradients, as `problem.canonical` names them."""

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        """(wall seconds, processor seconds) of one call, the mean of `calls` calls."""


class JaxRunner:
    """A contestant in JAX, compiled ahead of time, once a mode.

    - `precision`: of products, as jax.default_matmul_precision takes it; None leaves the backend's default.
    """

    def __init__(self, contestant: Contestant, problem: Problem, precision: str | None = None):
        self.note = contestant.note
        self._contestant = contestant
        self._precision = precision
        xs, state, (dstate, dhs) = jax.tree.map(jnp.asarray, (problem.xs, problem.state, problem.cotangents))
        self._args = (contestant.params, self._layout(xs), state)
        self._cotangents = (dstate, self._layout(dhs))
        self._compiled = {}

    def facts(self, mode: str) -> dict[str, Any]:
        program, compile_s = self._program(mode)
        memory = program.memory_analysis()
        return {"compile_s": compile_s, "temp_bytes": memory.temp_size_in_bytes if memory else None}

    def program_size(self, mode: str) -> int:
        """Instructions in the compiled program's text."""
        return sum(" = " in line for line in self._program(mode)[0].as_text().splitlines())

    def results(self) -> dict[str, np.ndarray]:
        found = self._call("gradients")
        (state, hs), (dparams, dxs, dstate) = found["output"], found["gradient"]
        forward_state, forward_hs = self._call("forward")
        return canonical(
            (state, self._layout(hs)),
            (self._contestant.canonical(dparams), self._layout(dxs), dstate),
            (forward_state, self._layout(forward_hs)),
        )

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        block_each = jax.default_backend() == "cpu"  # a GPU's stream keeps the order; the CPU would run them abreast
        self._program(mode)
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            out = self._call(mode)
            if block_each:
                jax.block_until_ready(out)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls

    def _layout(self, array):  # [T, B, ·] to the contestant's, and back
        return jnp.swapaxes(array, 0, 1) if self._contestant.batch_major else array

    def _program(self, mode):
        if mode not in self._compiled:
            precision = jax.default_matmul_precision(self._precision) if self._precision else contextlib.nullcontext()
            with precision:
                start = time.perf_counter()
                program = jax.jit(self._function(mode)).lower(*self._inputs(mode)).compile()
                self._compiled[mode] = program, time.perf_counter() - start
        return self._compiled[mode]

    def _function(self, mode):
        function = self._contestant.function
        return value_and_gradients(function) if mode == "gradients" else lambda args: function(*args)

    def _inputs(self, mode):
        return (self._args, self._cotangents) if mode == "gradients" else (self._args,)

    def _call(self, mode):
        program, _ = self._program(mode)
        return program(*self._inputs(mode))
