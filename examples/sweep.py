"""A sweep over seeds and learning rates in one compiled program: a whole training run is a function of the two, and
`jax.vmap` makes it twenty runs. The task is the adding problem (Hochreiter and Schmidhuber 1997): of a sequence of
numbers the two that are marked are to be added. A quarter of a minute on two cores.

    python examples/sweep.py --steps 600
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbptt

CELL, H = jbptt.gru, 32
T, B = 30, 32
RATES = jnp.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
SEEDS = jnp.arange(4)
GUESSING = 1 / 6  # the squared error of saying 1 always: the variance of a sum of two


def draw(key, batch):
    """(numbers and marks [T, batch, 2], the sum of the two marked numbers [batch, 1])."""
    key_numbers, key_marks = jax.random.split(key)
    numbers = jax.random.uniform(key_numbers, (T, batch))
    times = jax.random.permutation(key_marks, jnp.tile(jnp.arange(T)[:, None], (1, batch)), independent=True)
    marks = (times < 2).astype(numbers.dtype)
    return jnp.stack([numbers, marks], axis=-1), jnp.sum(numbers * marks, axis=0)[:, None]


def loss(params, key, batch=B):
    xs, sums = draw(key, batch)
    _, said = jbptt.miso(CELL, params, xs)
    return 2 * jbptt.mse(said, sums)  # the squared error: jbptt.mse is half of it


def train(rate, seed, steps):
    """The squared error on new sequences after a whole run."""
    key_init, key_test, key_training = jax.random.split(jax.random.key(seed), 3)
    params = jbptt.network_init(key_init, CELL, 2, H, 1)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def step(carry, key):
        params, memory = carry
        updates, memory = optimiser.update(jax.grad(loss)(params, key), memory)
        return (optax.apply_updates(params, updates), memory), None

    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key_training, steps))
    return loss(params, key_test, batch=512)


def main(steps: int = 600) -> np.ndarray:
    """Trains all of them. Returns the squared errors [rates, seeds]."""
    run = partial(train, steps=steps)
    sweep = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))
    began = time.perf_counter()
    errors = np.asarray(sweep(RATES, SEEDS))
    print(f"{errors.size} runs of {steps} steps in {time.perf_counter() - began:.0f} s; guessing: {GUESSING:.3f}")
    for rate, of_rate in zip(RATES, errors, strict=True):
        print(f"rate {rate:.0e}: squared error {of_rate.mean():.4f} ± {of_rate.std():.4f} over {len(of_rate)} seeds")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    main(**vars(parser.parse_args()))
