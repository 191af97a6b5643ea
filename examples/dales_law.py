"""A network of neuroscience in continuous time: rates that follow their input with a time constant, eighty units that
excite and twenty that inhibit (Dale's law), connections that are not there, noise at every step, and a trained initial
state. It learns to say whether the evidence that it hears leans to the one side or to the other (Song 2016), the better
the stronger the evidence. Twenty seconds on two cores.

    python examples/dales_law.py --steps 600
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbptt

EXCITE, INHIBIT = 80, 20
H = EXCITE + INHIBIT
DT, TAU, SIGMA = 20.0, 100.0, 0.15  # ms, ms, and the standard deviation of a unit's private noise
T, READ, B = 40, 10, 64  # steps of a trial, of which the last are read; trials at once
COHERENCES = np.array([0.05, 0.1, 0.2, 0.4], np.float32)

SIGNS = np.repeat([1, -1], [EXCITE, INHIBIT])
CONNECTED = np.random.default_rng(0).random((H, H)) < 0.5
np.fill_diagonal(CONNECTED, False)
CELL = jbptt.leaky_rnn_cell(alpha=DT / TAU, mask=CONNECTED, signs=SIGNS)
NOISE = SIGMA * np.sqrt(2 * TAU / DT)  # of a step: τ dh = … dt + σ √(2 τ) dξ


def draw(key, coherence):
    """Evidence of a side of ±1, for each trial one coherence [B]: (xs [T, B, 1], sides [B])."""
    key_sides, key_noise = jax.random.split(key)
    sides = jax.random.rademacher(key_sides, coherence.shape, jnp.float32)
    return (sides * coherence + 0.5 * jax.random.normal(key_noise, (T, len(coherence))))[..., None], sides


def decide(params, xs, key):
    """What is read in the last steps, from the units that excite alone, [READ, B]; and all rates [T, B, H]."""
    start = jbptt.RNNState(jnp.broadcast_to(jax.nn.relu(params["start"]), (xs.shape[1], H)))  # rates are not negative
    _, rates = jbptt.unroll(CELL, params["cell"], xs, start, noise=NOISE, key=key)
    return jbptt.dense(params["output"], rates[-READ:, :, :EXCITE])[..., 0], rates


def loss(params, key):
    key_coherence, key_draw, key_noise = jax.random.split(key, 3)
    xs, sides = draw(key_draw, jax.random.choice(key_coherence, COHERENCES, (B,)))
    z, rates = decide(params, xs, key_noise)
    answers = jnp.broadcast_to(sides > 0, z.shape).astype(z.dtype)
    return jbptt.binary_cross_entropy(z, answers) + 1e-3 * jnp.mean(jnp.square(rates))


def main(steps: int = 600) -> dict:
    """Trains. Returns the parts of trials that are right, by coherence, the weights and the initial rates."""
    key_cell, key_output, key_training, key_test = jax.random.split(jax.random.key(0), 4)
    params = {
        "cell": CELL.init(key_cell, 1, H),
        "start": jnp.full(H, 0.1),
        "output": jbptt.mlp_init(key_output, [EXCITE, 1])[0],
    }
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))

    @jax.jit
    def update(params, memory, key):
        cost, gradients = jax.value_and_grad(loss)(params, key)
        updates, memory = optimiser.update(gradients, memory)
        return optax.apply_updates(params, updates), memory, cost

    memory = optimiser.init(params)
    for number, key in enumerate(jax.random.split(key_training, steps), start=1):
        params, memory, cost = update(params, memory, key)
        if number == 1 or number % max(1, steps // 6) == 0:
            print(f"step {number}: loss {cost:.2f}")

    right = {}
    for coherence in COHERENCES:
        xs, sides = draw(key_test, jnp.full(1000, coherence))
        z, _ = decide(params, xs, key_test)
        right[float(coherence)] = float(jnp.mean((z.mean(axis=0) > 0) == (sides > 0)))
        print(f"coherence {coherence:.2f}: {right[float(coherence)]:.0%} right")
    W = CONNECTED * SIGNS[:, None] * np.abs(params["cell"]["W"])  # W[m, n]: what unit m says to unit n
    start = np.maximum(params["start"], 0)
    print(f"excitation in all {(W > 0).sum()}, inhibition {(W < 0).sum()} connections of {CONNECTED.sum()}")
    print(f"initial rates, 0.1 before training: from {start.min():.2f} to {start.max():.2f}")
    return {"right": right, "W": W, "start": start}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    main(**vars(parser.parse_args()))
