"""A trained network as a file that JAX runs without this library: `jax.export` with symbolic time and batch, a whole
sequence at once or one step at a time with the carried state, and with its hand-derived gradient. Three seconds.

    python examples/export.py --folder exported
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

import jbptt

CELL, I, H, O = jbptt.lstm, 4, 16, 3


def whole(params, xs, lengths):
    """What the network says at every step of a padded batch, [T, B, O]."""
    return jbptt.mimo(CELL, params, xs, lengths=lengths)[1]


def one_step(params, state, x):
    """(the state after one step, what it says then [B, O]). A NamedTuple would have to be known to who loads it."""
    state, h = jbptt.step(CELL, params["cell"], jbptt.LSTMState(**state), x)
    return state._asdict(), jbptt.dense({"w": params["V"], "b": params["c"]}, h)


def main(folder: str = "exported") -> dict:
    """Writes the two programs, reads them again and compares. Returns the largest differences."""
    key = jax.random.key(0)
    params = jbptt.network_init(key, CELL, I, H, O)
    zeros = CELL.initial_state(params["cell"], (5,))._asdict()
    xs, lengths = jax.random.normal(key, (20, 5, I)), jnp.array([20, 7, 0, 13, 1], jnp.int32)

    path = Path(folder)
    path.mkdir(exist_ok=True)
    T, B = jax.export.symbolic_shape("T, B")
    given = jax.ShapeDtypeStruct
    of_params = jax.tree.map(lambda leaf: given(leaf.shape, leaf.dtype), params)
    of_state = {name: given((B, H), jnp.float32) for name in zeros}
    export = partial(jax.export.export, platforms=["cpu", "cuda"])
    program = export(jax.jit(whole))(of_params, given((T, B, I), jnp.float32), given((B,), jnp.int32))
    (path / "whole").write_bytes(program.serialize(vjp_order=1))  # and its gradient
    program = export(jax.jit(one_step))(of_params, of_state, given((B, I), jnp.float32))
    (path / "one_step").write_bytes(program.serialize())

    # From here on nothing needs jbptt.
    read_whole, read_step = [jax.export.deserialize((path / name).read_bytes()).call for name in ("whole", "one_step")]
    print({file.name: f"{file.stat().st_size} bytes" for file in sorted(path.iterdir())})
    carried, said = zeros, []
    for x in xs:
        carried, y = read_step(params, carried, x)
        said.append(y)

    def cost(params, run):
        return jnp.sum(jnp.square(run(params, xs, lengths)))

    def difference(a, b):
        return max(float(jnp.max(jnp.abs(x - y))) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    full = jnp.full(5, 20, jnp.int32)
    differences = {
        "whole": difference(read_whole(params, xs, lengths), whole(params, xs, lengths)),
        "step by step": difference(jnp.stack(said), whole(params, xs, full)),
        "gradient": difference(*[jax.grad(cost)(params, run) for run in (read_whole, whole)]),
    }
    for name, largest in differences.items():
        print(f"{name}: largest difference {largest:.0e}")
    return differences


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="exported")
    main(**vars(parser.parse_args()))
