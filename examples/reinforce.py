"""Reinforcement learning with resets: REINFORCE on vmapped environments whose episodes begin and end as they like, and
go on from one update to the next. The state is carried on; where an episode begins it is zeros again, and no gradient
crosses. An episode shows a cue, 0 or 1, at its first step, then nothing, until it asks, at any moment, which it was.
Five seconds on two cores from guessing to remembering.

    python examples/reinforce.py --updates 100
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import jbptt

CELL, H = jbptt.lstm, 32
N, T = 64, 20  # environments at once; steps from update to update
ASKS = 0.2  # how probable it is, at every step but the first, that the episode asks, and ends


class Environment(NamedTuple):
    """One environment: its episode's cue, and whether this is its first step, and whether it asks."""

    cue: jax.Array
    first: jax.Array
    asks: jax.Array


def begin(key):
    return Environment(jax.random.randint(key, (), 0, 2), jnp.array(True), jnp.array(False))


def observe(env):
    return jnp.array([env.first & (env.cue == 0), env.first & (env.cue == 1), env.asks], jnp.float32)


def act(key, env, action):
    """(the environment after the action, whether the episode is over, the reward)."""
    key_begin, key_asks = jax.random.split(key)
    reward = jnp.where(action == env.cue, 1.0, -1.0) * env.asks
    goes_on = env._replace(first=jnp.array(False), asks=jax.random.bernoulli(key_asks, ASKS))
    after = jax.tree.map(lambda new, same: jnp.where(env.asks, new, same), begin(key_begin), goes_on)
    return after, env.asks, reward


def policy(params, xs, state, begins):
    """(the state after the last step, logits [T, N, 2]), where episodes begin at the steps `begins` [T, N]."""
    zeros = CELL.initial_state(params["cell"], (N,))
    return jbptt.mimo(CELL, params, xs, state, resets=begins, reset_state=zeros)


def play(params, carried, key):
    """T steps of all environments. Returns (what the next call goes on from, (xs, begins, actions, rewards))."""

    def step(carried, key):
        envs, begins, state = carried
        keys = jax.random.split(key, N + 1)
        x = jax.vmap(observe)(envs)
        state, logits = policy(params, x[None], state, begins[None])
        actions = jax.random.categorical(keys[0], logits[0])
        envs, ends, rewards = jax.vmap(act)(keys[1:], envs, actions)
        return (envs, ends, state), (x, begins, actions, rewards)

    return jax.lax.scan(step, carried, jax.random.split(key, T))


def main(updates: int = 100) -> list[float]:
    """Trains. Returns the mean reward for an answer, of every update."""
    key_params, key_envs, key_training = jax.random.split(jax.random.key(0), 3)
    params = jbptt.network_init(key_params, CELL, input_size=3, hidden_size=H, output_size=2)
    optimiser = optax.adam(0.01)
    carried = (
        jax.vmap(begin)(jax.random.split(key_envs, N)),
        jnp.ones(N, bool),
        CELL.initial_state(params["cell"], (N,)),
    )

    @jax.jit
    def update(params, memory, carried, key):
        _, _, state = carried
        carried, (xs, begins, actions, rewards) = play(params, carried, key)

        def cost(params):  # the log probability of each action that answered, times its reward
            _, logits = policy(params, xs, state, begins)
            return jbptt.softmax_cross_entropy(logits, actions, rewards, reduction="sum") / N

        updates, memory = optimiser.update(jax.grad(cost)(params), memory)
        return optax.apply_updates(params, updates), memory, carried, rewards.sum() / abs(rewards).sum()

    memory, mean_rewards = optimiser.init(params), []
    for number, key in enumerate(jax.random.split(key_training, updates), start=1):
        params, memory, carried, mean_reward = update(params, memory, carried, key)
        mean_rewards.append(float(mean_reward))
        if number == 1 or number % max(1, updates // 10) == 0:
            print(f"update {number}: mean reward {mean_reward:+.2f}")
    return mean_rewards


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=100)
    main(**vars(parser.parse_args()))
