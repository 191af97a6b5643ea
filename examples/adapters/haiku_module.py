"""A module of haiku around the engine: a cell's parameters are the module's, drawn where `hk.transform` initialises.
Five seconds.

    python examples/adapters/haiku_module.py --steps 100
"""

import argparse

import haiku as hk
import jax
import jax.numpy as jnp
import optax

import jbptt


class Recurrent(hk.Module):
    """A cell over a sequence, as `hk.dynamic_unroll` of a core. Options of a call are `jbptt.unroll`'s; its `key`, of
    dropout say, may be `hk.next_rng_key()`."""

    def __init__(self, cell: jbptt.Cell, hidden_size: int, name: str | None = None):
        super().__init__(name)
        self.cell, self.hidden_size = cell, hidden_size

    def __call__(self, xs: jax.Array, state=None, **options):
        """(the state after the last step, hs [T, B, H])."""
        return jbptt.unroll(self.cell, self.arrays(xs), xs, state, **options)

    def step(self, state, x: jax.Array):
        """(the state after one step, its h [B, H])."""
        return jbptt.step(self.cell, self.arrays(x), state, x)

    def arrays(self, x: jax.Array) -> dict[str, jax.Array]:
        """The cell's parameters, as jbptt takes them, for inputs [..., I]."""

        def draw(key):
            return self.cell.init(key, x.shape[-1], self.hidden_size, x.dtype)

        drawn = draw(hk.next_rng_key()) if hk.running_init() else jax.eval_shape(draw, jax.random.key(0))
        return {
            name: hk.get_parameter(name, array.shape, array.dtype, init=lambda *_, array=array: array)
            for name, array in drawn.items()
        }


@hk.without_apply_rng
@hk.transform
def network(xs, **options):
    """Many inputs, one output: a recurrent layer and a linear one."""
    state, _ = Recurrent(jbptt.lstm, 16)(xs, **options)
    return hk.Linear(1)(state.h)


def main(steps: int = 100) -> dict:
    """Compares gradients with those of the plain call, and trains. Returns the largest difference and the costs."""
    key = jax.random.key(0)
    xs = jax.random.normal(key, (20, 32, 4))
    targets, lengths = jnp.tanh(xs[:5, :, :1].sum(axis=0)), jax.random.randint(key, (32,), 5, 21)

    def cost(params):
        return jbptt.mse(network.apply(params, xs, lengths=lengths), targets)

    def plain(params):
        state, _ = jbptt.unroll(jbptt.lstm, params["recurrent"], xs, lengths=lengths)
        return jbptt.mse(jbptt.dense(params["linear"], state.h), targets)

    params = network.init(key, xs)
    through_module, expected = jax.jit(jax.grad(cost))(params), jax.jit(jax.grad(plain))(params)
    difference = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), through_module, expected)))
    print(f"gradients of the module and of the plain call: largest difference {difference:.0e}")

    optimiser = optax.adam(1e-2)

    @jax.jit
    def update(params, memory):
        value, gradients = jax.value_and_grad(cost)(params)
        updates, memory = optimiser.update(gradients, memory)
        return optax.apply_updates(params, updates), memory, value

    memory, costs = optimiser.init(params), []
    for _ in range(steps):
        params, memory, value = update(params, memory)
        costs.append(float(value))
    print(f"cost from {costs[0]:.4f} to {costs[-1]:.4f} in {steps} steps")
    return {"difference": difference, "costs": costs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    main(**vars(parser.parse_args()))
