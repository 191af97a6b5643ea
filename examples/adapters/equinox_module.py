"""A module of equinox around the engine: a cell's parameters are the leaves, the cell has none, and `eqx.filter_jit`,
`eqx.filter_grad` and optax take it as they take any other. Five seconds.

    python examples/adapters/equinox_module.py --steps 100
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jbptt


class Recurrent(eqx.Module):
    """A cell over a sequence. Options of a call are `jbptt.unroll`'s. Equinox's modules take one sequence [T, I] and
    leave the batch to `jax.vmap`; this takes both, and a batch [T, B, I] is the faster way."""

    params: dict[str, jax.Array]
    cell: jbptt.Cell = eqx.field(static=True)

    def __init__(self, cell: jbptt.Cell, input_size: int, hidden_size: int, *, key: jax.Array):
        self.cell = cell
        self.params = cell.init(key, input_size, hidden_size)

    def __call__(self, xs: jax.Array, state=None, **options):
        """(the state after the last step, hs [T, B, H])."""
        return jbptt.unroll(self.cell, self.params, xs, state, **options)

    def step(self, state, x: jax.Array):
        """(the state after one step, its h [B, H])."""
        return jbptt.step(self.cell, self.params, state, x)


class Network(eqx.Module):
    """Many inputs, one output: a recurrent layer and a linear one."""

    recurrent: Recurrent
    linear: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        key_recurrent, key_linear = jax.random.split(key)
        self.recurrent = Recurrent(jbptt.lstm, 4, 16, key=key_recurrent)
        self.linear = eqx.nn.Linear(16, 1, key=key_linear)

    def __call__(self, xs, **options):
        state, _ = self.recurrent(xs, **options)
        return jax.vmap(self.linear)(state.h)


def main(steps: int = 100) -> dict:
    """Compares gradients with those of the plain call, and trains. Returns the largest difference and the costs."""
    key = jax.random.key(0)
    xs = jax.random.normal(key, (20, 32, 4))
    targets, lengths = jnp.tanh(xs[:5, :, :1].sum(axis=0)), jax.random.randint(key, (32,), 5, 21)

    def cost(network):
        return jbptt.mse(network(xs, lengths=lengths), targets)

    def plain(params, layer):
        state, _ = jbptt.unroll(jbptt.lstm, params, xs, lengths=lengths)
        return jbptt.mse(jbptt.dense(layer, state.h), targets)

    network = Network(key)
    layer = {"w": network.linear.weight.T, "b": network.linear.bias}
    through_module = eqx.filter_jit(eqx.filter_grad(cost))(network).recurrent.params
    expected = jax.jit(jax.grad(plain))(network.recurrent.params, layer)
    difference = max(float(jnp.abs(through_module[name] - expected[name]).max()) for name in expected)
    print(f"gradients of the module and of the plain call: largest difference {difference:.0e}")

    optimiser = optax.adam(1e-2)

    @eqx.filter_jit
    def update(network, memory):
        value, gradients = eqx.filter_value_and_grad(cost)(network)
        updates, memory = optimiser.update(gradients, memory)
        return eqx.apply_updates(network, updates), memory, value

    memory, costs = optimiser.init(eqx.filter(network, eqx.is_array)), []
    for _ in range(steps):
        network, memory, value = update(network, memory)
        costs.append(float(value))
    print(f"cost from {costs[0]:.4f} to {costs[-1]:.4f} in {steps} steps")
    return {"difference": difference, "costs": costs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    main(**vars(parser.parse_args()))
