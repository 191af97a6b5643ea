"""A module of flax.nnx around the engine: a cell's parameters are its `nnx.Param`s, and `nnx.jit`, `nnx.grad` and
`nnx.Optimizer` take it as they take any other. Five seconds.

    python examples/adapters/nnx_module.py --steps 100
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jbptt


class Recurrent(nnx.Module):
    """A cell over a sequence. Options of a call are `jbptt.unroll`'s; its `key`, of dropout say, may be
    `rngs.dropout()`."""

    def __init__(self, cell: jbptt.Cell, input_size: int, hidden_size: int, *, rngs: nnx.Rngs):
        self.cell = cell
        self.params = nnx.Dict(
            {name: nnx.Param(array) for name, array in cell.init(rngs.params(), input_size, hidden_size).items()}
        )

    def __call__(self, xs: jax.Array, state=None, **options):
        """(the state after the last step, hs [T, B, H])."""
        return jbptt.unroll(self.cell, self.arrays(), xs, state, **options)

    def step(self, state, x: jax.Array):
        """(the state after one step, its h [B, H])."""
        return jbptt.step(self.cell, self.arrays(), state, x)

    def arrays(self) -> dict[str, jax.Array]:
        """The cell's parameters, as jbptt takes them."""
        return {name: param[...] for name, param in self.params.items()}


class Network(nnx.Module):
    """Many inputs, one output: a recurrent layer and a linear one."""

    def __init__(self, rngs: nnx.Rngs):
        self.recurrent = Recurrent(jbptt.lstm, 4, 16, rngs=rngs)
        self.linear = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, xs, **options):
        state, _ = self.recurrent(xs, **options)
        return self.linear(state.h)


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

    network = Network(nnx.Rngs(0))
    layer = {"w": network.linear.kernel[...], "b": network.linear.bias[...]}
    through_module = nnx.jit(nnx.grad(cost))(network)["recurrent"]["params"]
    expected = jax.jit(jax.grad(plain))(network.recurrent.arrays(), layer)
    difference = max(float(jnp.abs(through_module[name][...] - expected[name]).max()) for name in expected)
    print(f"gradients of the module and of the plain call: largest difference {difference:.0e}")

    @nnx.jit
    def update(network, optimiser):
        value, gradients = nnx.value_and_grad(cost)(network)
        optimiser.update(network, gradients)
        return value

    optimiser = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)
    costs = [float(update(network, optimiser)) for _ in range(steps)]
    print(f"cost from {costs[0]:.4f} to {costs[-1]:.4f} in {steps} steps")
    return {"difference": difference, "costs": costs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    main(**vars(parser.parse_args()))
