"""The one model of every task on sequences: recurrent layers, and a dense output at each step, or at the end.

T time, B batch, I inputs, K outputs.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jbptt.app import regularising
from jbptt.app.optimising import optimizer_of
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.sequences.task import Batch, Problem
from jbptt.cells.pieces import features_of_h
from jbptt.cells.table import CELLS
from jbptt.feedforward.layer import dense
from jbptt.feedforward.perceptron import mlp_init
from jbptt.networks.layers import stack, stack_init
from jbptt.recurrence.options import steps_within
from jbptt.recurrence.regularisation import dropped

DRAWN = regularising.NOT_OF_PARAMETERS + 1
"""What a run's training sequences are drawn by: neither parameters nor dropout are."""


class Progress(NamedTuple):
    """How many of the newest training sequences were right, one after the other, and after how many steps that was
    enough, 0 before."""

    right: jax.Array
    solved_after: jax.Array


class Carry(NamedTuple):
    """All that training carries from step to step, and all that a checkpoint holds.

    - `params`: {"layers": one cell's parameters each, "output": {"w" [H, K], "b" [K]}}.
    - `optimizer`: optax's state.
    - `progress`: towards the task's being solved.
    - `losses`: of the steps since the last report.
    """

    params: dict
    optimizer: Any
    progress: Progress
    losses: RunningMean


def init(settings: Any, problem: Problem) -> Carry:
    """Where training starts."""
    cell, dtype = CELLS[settings.cell], jnp.dtype(settings.dtype)
    layers_key, output_key = jax.random.split(jax.random.key(settings.seed))
    layers = stack_init(layers_key, [cell] * settings.layers, problem.inputs, settings.hidden, dtype)
    (output,) = mlp_init(output_key, [features_of_h(cell, layers[-1]), problem.output.size], dtype=dtype)
    params = {"layers": layers, "output": output}
    progress = Progress(*(jnp.zeros((), jnp.int32) for _ in Progress._fields))
    return Carry(params, optimizer_of(settings).init(params), progress, RunningMean.empty())


def outputs(
    settings: Any,
    params: dict,
    batch: Batch,
    states: tuple | None = None,
    *,
    at_end: bool,
    key: jax.Array | None = None,
) -> tuple[tuple, jax.Array]:
    """(every layer's last state, z [B, K] at the sequences' ends or [T, B, K] at each step), in float32 at least; in
    training with a key, where anything is drawn. Dropout is between layers, the output layer among them."""
    inputs = batch.inputs
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        inputs = inputs.astype(settings.dtype)
    layers, options = [CELLS[settings.cell]] * settings.layers, regularising.rates(settings)
    options |= {"lengths": batch.lengths, "vjp": settings.vjp, "key": key}
    states, hs = stack(layers, params["layers"], inputs, states, **options)
    h = states[-1].h if at_end else hs
    key_output = None if key is None else jax.random.fold_in(key, settings.layers)  # layers have those before it
    z = dense(params["output"], dropped(key_output, settings.dropout, h), vjp=settings.vjp)
    return states, z.astype(jnp.promote_types(z.dtype, jnp.float32))  # a sum of losses is not for bfloat16


def sums(settings: Any, problem: Problem, params: dict, batch: Batch) -> jax.Array:
    """What the figures of a batch are the quotients of, in the order of `Output.figures`: [figures, 2]."""
    return _sums(settings, problem, params, batch, None)[0]


def _sums(settings, problem, params, batch, key):
    """(the sums, which sequences are right [B])."""
    output = problem.output
    _, z = outputs(settings, params, batch, at_end=output.at_end, key=key)
    weights = _weights(batch, output.at_end).astype(z.dtype)
    right = output.right(z, batch.targets)
    exact = right if output.at_end else jnp.all(right | (weights == 0), axis=0)
    items = jnp.sum(weights)
    of_figures = (
        (output.total(z, batch.targets, weights, settings.vjp), items),
        (jnp.sum(weights * right.astype(z.dtype)), items),
        (jnp.sum(exact).astype(z.dtype), jnp.asarray(exact.size, z.dtype)),
    )
    return jnp.asarray(of_figures[: len(output.figures)]), exact


def _weights(batch, at_end):
    """Of the items, [B] or [T, B]."""
    T, B = batch.inputs.shape[:2]
    if at_end:
        return jnp.ones(B)
    if batch.weights is not None:
        return batch.weights
    return jnp.ones((T, B)) if batch.lengths is None else steps_within(batch.lengths, T)


def train_step(settings: Any, run_of_right: int, problem: Problem, carry: Carry, number: jax.Array) -> Carry:
    """Step `number`, 0, 1, ..., on sequences that its number and the seed draw. Pure."""
    batch = problem.draw(jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), DRAWN), number))
    key = regularising.key_of_step(settings, number)

    def loss(params):
        ((cost, items), *_), exact = _sums(settings, problem, params, batch, key)
        return cost / items, exact

    (value, exact), dparams = jax.value_and_grad(loss, has_aux=True)(carry.params)
    updates, optimizer = optimizer_of(settings).update(dparams, carry.optimizer, carry.params)
    params = cast(dict, optax.apply_updates(carry.params, updates))
    progress = _after(carry.progress, exact, run_of_right, number + 1)
    return Carry(params, optimizer, progress, carry.losses.add(value))


def _after(progress, exact, run_of_right, steps):
    """The progress with these sequences [B]."""
    last_of_them = jnp.argmin(exact[::-1]).astype(jnp.int32)  # right ones, if not all are
    right = jnp.where(jnp.all(exact), progress.right + exact.size, last_of_them)
    solved = (run_of_right > 0) & (right >= run_of_right) & (progress.solved_after == 0)
    return Progress(right, jnp.where(solved, steps, progress.solved_after).astype(jnp.int32))
