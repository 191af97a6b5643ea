"""Contestants in JAX: ours with either backward pass, and flax.nnx with optax."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants.protocol import need
from benchmarks.steps.problem import DatesProblem, StepProblem
from jbptt.app.optimising import optimizer_of
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.translation import model as translation


class StepRunner:
    """Goes on and on: a step's carry is the next one's.

    - `start() -> carry`, `step(carry, *chunk) -> (carry, loss)`.
    - `weights(carry)`: the model's, as the problem has them.
    """

    note = ""

    def __init__(
        self,
        problem: StepProblem | DatesProblem,
        start: Callable[[], Any],
        step: Callable,
        weights: Callable[[Any], dict[str, Any]],
    ):
        self._problem, self._start, self._weights, self._number = problem, start, weights, 0
        self._carry = start()
        begin = time.perf_counter()
        self._program = jax.jit(step, donate_argnums=0).lower(self._carry, *problem.chunk(0)).compile()
        self._compile_s = time.perf_counter() - begin

    def facts(self, mode: str) -> dict[str, Any]:
        memory = self._program.memory_analysis()
        return {"compile_s": self._compile_s, "temp_bytes": memory.temp_size_in_bytes if memory else None}

    def losses(self, steps: int) -> np.ndarray:
        """Those of the first steps."""
        carry, found = self._start(), []
        for number in range(steps):
            carry, loss = self._program(carry, *self._problem.chunk(number))
            found.append(float(loss))
        return np.array(found)

    def weights(self) -> dict[str, Any]:
        """Those that `measure` has come to."""
        return jax.tree.map(np.asarray, self._weights(self._carry))

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        """(wall seconds, processor seconds) of a step, the mean of `calls`. As in training, nobody waits for a loss."""
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._carry, _ = self._program(self._carry, *self._problem.chunk(self._number))
            self._number += 1
        jax.block_until_ready(self._carry)
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls


def ours(problem: StepProblem, vjp: str) -> StepRunner:
    """What `jbptt train chars` does at each step."""
    settings = problem.settings._replace(vjp=vjp)

    def start():
        params = jax.tree.map(jnp.array, problem.weights)
        states = model.initial_states(settings, params, problem.sizes.B)
        return model.Carry(params, optimizer_of(settings).init(params), states, RunningMean.empty())

    def step(carry, inputs, targets):
        carry = model.train_step(settings, carry, model.Chunk(inputs, targets, False))
        return carry._replace(losses=RunningMean.empty()), carry.losses.total

    return StepRunner(problem, start, step, lambda carry: carry.params)


def ours_dates(problem: DatesProblem, vjp: str) -> StepRunner:
    """What `jbptt train dates` does at each step, the drawing of its pairs apart."""
    settings = problem.settings._replace(vjp=vjp)

    def start():
        params = jax.tree.map(jnp.array, problem.weights)
        learners = {name: translation.Learner(of, optimizer_of(settings).init(of)) for name, of in params.items()}
        return translation.Carry(learners, RunningMean.empty())

    def step(carry, batch):
        carry = translation.train_step(settings, carry, batch, 0)
        return carry._replace(losses=RunningMean.empty()), carry.losses.total

    return StepRunner(
        problem, start, step, lambda carry: {name: learner.params for name, learner in carry.learners.items()}
    )


def flax_nnx(problem: StepProblem) -> StepRunner:
    """nnx.RNN around OptimizedLSTMCell on one-hot rows, nnx.Linear, optax."""
    need("flax")
    from flax import nnx

    _, B, H, L, K = problem.sizes
    settings = problem.settings

    class Model(nnx.Module):
        def __init__(self):
            cells = [nnx.OptimizedLSTMCell(K if layer == 0 else H, H, rngs=nnx.Rngs(0)) for layer in range(L)]
            self.layers = nnx.List([nnx.RNN(cell, time_major=True, return_carry=True, rngs=False) for cell in cells])
            self.output = nnx.Linear(H, K, rngs=nnx.Rngs(0))

        def __call__(self, xs, carries):
            ends = []
            for layer, carry in zip(self.layers, carries, strict=True):
                end, xs = layer(xs, initial_carry=carry)
                ends.append(end)
            return ends, self.output(xs)

    def start():
        network = Model()
        for layer, weights in zip(network.layers, problem.weights["layers"], strict=True):
            layer.cell.dense_i.kernel[...] = jnp.array(weights["U"])
            layer.cell.dense_h.kernel[...] = jnp.array(weights["W"])
            layer.cell.dense_h.bias[...] = jnp.array(weights["b"])
        network.output.kernel[...] = jnp.array(problem.weights["output"]["w"])
        network.output.bias[...] = jnp.array(problem.weights["output"]["b"])
        _, params = nnx.split(network)
        zeros = [(jnp.zeros((B, H)), jnp.zeros((B, H))) for _ in range(L)]
        return params, optimizer_of(settings).init(params), zeros

    graph, _ = nnx.split(Model())

    def step(carry, inputs, targets):
        params, optimizer, states = carry

        def loss(params):
            ends, logits = nnx.merge(graph, params)(jax.nn.one_hot(inputs, K), states)
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), ends

        (value, ends), dparams = jax.value_and_grad(loss, has_aux=True)(params)
        updates, optimizer = optimizer_of(settings).update(dparams, optimizer, params)
        return (optax.apply_updates(params, updates), optimizer, ends), value

    def weights(carry):
        network = nnx.merge(graph, carry[0])
        cells = [layer.cell for layer in network.layers]
        layers = [{"U": c.dense_i.kernel[...], "W": c.dense_h.kernel[...], "b": c.dense_h.bias[...]} for c in cells]
        return {"layers": layers, "output": {"w": network.output.kernel[...], "b": network.output.bias[...]}}

    return StepRunner(problem, start, step, weights)
