"""Recurrent PPO in pure JAX (flax.linen, environments and training in one compiled program, as in purejaxrl), in which
the scanned recurrent module is exchanged for the engine by one line: `ActorCritic(recurrent=...)`. Both have the same
interface, (h, (xs [T, N, I], begins [T, N])) -> (h, hs), and with the same weights the same values and gradients.
An episode shows a cue, 0 or 1, at its first step, then nothing, until it asks, at any moment, which it was. Half a
minute on two cores, for both.

    python examples/adapters/ppo.py --updates 40
"""

import argparse
import time
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jbptt

N, T, H = 64, 20, 32  # environments at once; steps from update to update; units
EPOCHS, MINIBATCHES = 4, 4
DISCOUNT, LAMBDA, CLIP, ENTROPY, VALUE, RATE = 0.95, 0.95, 0.2, 0.01, 0.5, 5e-3
ASKS = 0.2  # how probable it is, at every step but the first, that the episode asks, and ends


class ScannedGRU(nn.Module):
    """Linen's own: a cell, scanned, whose h is zeros again where an episode begins."""

    @partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
    @nn.compact
    def __call__(self, h, x):
        xs, begins = x
        h = jnp.where(begins[:, None], jnp.zeros_like(h), h)
        return nn.GRUCell(features=H)(h, xs)


class HandDerivedGRU(nn.Module):
    """The same by the engine: backpropagation through time, derived by hand."""

    @nn.compact
    def __call__(self, h, x):
        xs, begins = x
        params = self.param("gru", jbptt.gru.init, xs.shape[-1], H)
        state, zeros = jbptt.GRUState(h), jbptt.GRUState(jnp.zeros_like(h))
        state, hs = jbptt.unroll(jbptt.gru, params, xs, state, resets=begins, reset_state=zeros)
        return state.h, hs


def from_linen(params):
    """The weights of `ScannedGRU` as `HandDerivedGRU` has them."""
    cell = params["GRUCell_0"]

    def joined(gates, name):
        return jnp.concatenate([cell[gate][name] for gate in gates], axis=-1)

    inputs, recurrent = ("ir", "iz", "in"), ("hr", "hz", "hn")
    U, W, b = joined(inputs, "kernel"), joined(recurrent, "kernel"), joined(inputs, "bias")
    return {"gru": {"U": U, "W": W, "b": b, "bn": cell["hn"]["bias"]}}


class ActorCritic(nn.Module):
    recurrent: type[nn.Module]

    @nn.compact
    def __call__(self, h, x):
        """(h after the last step, logits [T, N, 2], values [T, N])."""
        observations, begins = x
        xs = nn.relu(nn.Dense(H)(observations))
        h, hs = self.recurrent(name="recurrent")(h, (xs, begins))
        logits = nn.Dense(2)(nn.relu(nn.Dense(H)(hs)))
        values = nn.Dense(1)(nn.relu(nn.Dense(H)(hs)))
        return h, logits, values[..., 0]


class Environment(NamedTuple):
    cue: jax.Array
    first: jax.Array
    asks: jax.Array


def begin(key):
    return Environment(jax.random.randint(key, (), 0, 2), jnp.array(True), jnp.array(False))


def observe(env):
    return jnp.array([env.first & (env.cue == 0), env.first & (env.cue == 1), env.asks], jnp.float32)


def act(key, env, action):
    """(the environment after the action, the reward, whether the episode is over)."""
    key_begin, key_asks = jax.random.split(key)
    reward = jnp.where(action == env.cue, 1.0, -1.0) * env.asks
    goes_on = env._replace(first=jnp.array(False), asks=jax.random.bernoulli(key_asks, ASKS))
    return jax.tree.map(partial(jnp.where, env.asks), begin(key_begin), goes_on), reward, env.asks


class Steps(NamedTuple):
    """What was played, [T, N]."""

    x: jax.Array
    begins: jax.Array
    action: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    ends: jax.Array


def log_probability_of(logits, actions):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def play(network, params, carried, key):
    """T steps of all environments. Returns (what the next call goes on from, `Steps`)."""

    def step(carried, key):
        envs, begins, h = carried
        key_action, key_envs = jax.random.split(key)
        x = jax.vmap(observe)(envs)
        h, logits, values = network.apply(params, h, (x[None], begins[None]))
        action = jax.random.categorical(key_action, logits[0])
        envs, reward, ends = jax.vmap(act)(jax.random.split(key_envs, N), envs, action)
        played = Steps(x, begins, action, log_probability_of(logits[0], action), values[0], reward, ends)
        return (envs, ends, h), played

    return jax.lax.scan(step, carried, jax.random.split(key, T))


def advantages(steps, last_value):
    """Generalised advantage estimation (Schulman 2016), [T, N]."""

    def back(carry, at_t):
        advantage, value_after = carry
        delta = at_t.reward + DISCOUNT * value_after * ~at_t.ends - at_t.value
        advantage = delta + DISCOUNT * LAMBDA * ~at_t.ends * advantage
        return (advantage, at_t.value), advantage

    return jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def loss(params, network, h, steps, advantage):
    """PPO's clipped cost (Schulman 2017), of whole sequences [T, n] from the states [n, H] that they began with."""
    _, logits, values = network.apply(params, h, (steps.x, steps.begins))
    ratio = jnp.exp(log_probability_of(logits, steps.action) - steps.log_probability)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    of_policy = -jnp.minimum(ratio * scaled, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * scaled).mean()
    of_values = jbptt.mse(values, advantage + steps.value)
    entropy = -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=-1).mean()
    return of_policy + VALUE * of_values - ENTROPY * entropy


def start(network, key):
    """(parameters, what playing begins from)."""
    key_params, key_envs = jax.random.split(key)
    carried = jax.vmap(begin)(jax.random.split(key_envs, N)), jnp.ones(N, bool), jnp.zeros((N, H))
    return network.init(key_params, carried[2], (jnp.zeros((1, N, 3)), jnp.ones((1, N), bool))), carried


@partial(jax.jit, static_argnums=(0, 2))
def train(network, key, updates):
    """Returns the mean reward for an answer, of every update."""
    key_start, key_training = jax.random.split(key)
    params, carried = start(network, key_start)
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE))

    def update(carry, key):
        params, memory, carried = carry
        key_play, key_rows = jax.random.split(key)
        h = carried[2]
        carried, steps = play(network, params, carried, key_play)
        _, _, last_value = network.apply(params, carried[2], (jax.vmap(observe)(carried[0])[None], carried[1][None]))
        advantage = advantages(steps, last_value[0])

        def minibatch(carry, rows):
            params, memory = carry
            of_rows = jax.tree.map(lambda array: array[:, rows], (steps, advantage))
            gradients = jax.grad(loss)(params, network, h[rows], *of_rows)
            updates, memory = optimiser.update(gradients, memory)
            return (optax.apply_updates(params, updates), memory), None

        orders = jax.vmap(lambda key: jax.random.permutation(key, N))(jax.random.split(key_rows, EPOCHS))
        (params, memory), _ = jax.lax.scan(minibatch, (params, memory), orders.reshape(EPOCHS * MINIBATCHES, -1))
        return (params, memory, carried), steps.reward.sum() / steps.ends.sum()

    keys = jax.random.split(key_training, updates)
    return jax.lax.scan(update, (params, optimiser.init(params), carried), keys)[1]


def difference(key):
    """The largest difference of the two networks' gradients, of the same weights and the same play, relative to each
    array's largest entry."""
    theirs, ours = ActorCritic(ScannedGRU), ActorCritic(HandDerivedGRU)
    params, carried = start(theirs, key)
    _, steps = play(theirs, params, carried, key)
    advantage = advantages(steps, steps.value[-1])

    def as_ours(params):
        return {"params": params["params"] | {"recurrent": from_linen(params["params"]["recurrent"])}}

    gradients = jax.jit(jax.grad(loss), static_argnums=1)
    expected = as_ours(gradients(params, theirs, carried[2], steps, advantage))
    got = gradients(as_ours(params), ours, carried[2], steps, advantage)
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(abs(a - b).max() / abs(b).max()), got, expected)))


def main(updates: int = 40) -> dict:
    """Trains both. Returns the mean rewards, of every update, and the largest difference of gradients."""
    found = {"difference": difference(jax.random.key(1))}
    print(f"gradients of the two networks: largest relative difference {found['difference']:.0e}")
    for recurrent in (ScannedGRU, HandDerivedGRU):
        network = ActorCritic(recurrent)  # the one line
        program = train.lower(network, jax.random.key(0), updates).compile()
        began = time.perf_counter()
        rewards = found[recurrent.__name__] = jax.block_until_ready(program(jax.random.key(0)))
        seconds = time.perf_counter() - began
        first, middle, last = rewards[0], rewards[updates // 2], rewards[-1]
        print(f"{recurrent.__name__}: mean reward {first:+.2f}, {middle:+.2f}, {last:+.2f}, in {seconds:.1f} s")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=40)
    main(**vars(parser.parse_args()))
