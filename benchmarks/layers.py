"""Layers of one sequence at once, above each other or in both directions, against one after the other.

    python -m benchmarks.layers                      # two minutes
    python -m benchmarks.layers --quick

Every bit is the same first; then they take turns. Prints a Markdown table, and writes a CSV.
"""

from collections.abc import Callable
from functools import partial

import click
import jax
import jax.numpy as jnp
import numpy as np

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import Sizes
from jbptt.cells.table import CELLS as TABLE

GRID = tuple(Sizes(T, 1, 64, H) for T, H in ((1000, 64), (1000, 128), (256, 128)))
QUICK = (Sizes(100, 1, 8, 64),)
LAYERS = {
    "two layers": lambda cell: [cell] * 2,
    "three layers": lambda cell: [cell] * 3,
    "both directions": lambda cell: [jbptt.Bidirectional(cell, cell)],
}


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sizes", type=options.SizesList(), default=GRID, help="Default: three, of one sequence.")
@click.option("--rounds", default=30, show_default=True)
@options.out
@options.quick
def main(cells, sizes, rounds, out, quick):
    sizes, rounds = (QUICK, 3) if quick else (sizes, rounds)
    shared = machine.facts()
    file = results.start("layers", out, False, {})
    click.echo("| cell | T x B x I x H | layers | forward, ms | in turn | gradients, ms | in turn |")
    click.echo("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for size in sizes:
        for cell in cells:
            for name in LAYERS:
                rows = measure(cell, size, name, rounds)
                file.add([shared | {"date": machine.now()} | row for row in rows])
                click.echo(line(rows))
    click.echo(file.path, err=True)


def measure(cell: str, sizes: Sizes, name: str, rounds: int) -> list[results.Row]:
    """A row for the forward alone and one for the gradients of everything. Raises AssertionError for other bits."""
    layers = LAYERS[name](TABLE[cell])
    params = jbptt.stack_init(jax.random.key(0), layers, sizes.I, sizes.H)
    xs = jax.random.normal(jax.random.key(1), (sizes.T, sizes.B, sizes.I))
    rows = []
    for mode in ("forward", "gradients"):
        ways = {"at once": partial(jbptt.stack, layers), "in turn": partial(in_turn, layers)}
        programs = {way: jax.jit(_of(mode, run)).lower(params, xs).compile() for way, run in ways.items()}
        same = jax.tree.map(np.array_equal, *[program(params, xs) for program in programs.values()])
        assert all(jax.tree.leaves(same)), f"{cell} {sizes}, {name}: other bits"
        times = in_turns({way: partial(program, params, xs) for way, program in programs.items()}, rounds)
        ratio = times["in turn"]["ms"] / times["at once"]["ms"]
        row = {"cell": cell, **sizes._asdict(), "layers": name, "mode": mode, "ratio": ratio}
        rows.append(row | {f"{way}_{key}": value for way in ways for key, value in times[way].items()})
    return rows


def in_turn(layers: list, params: list, xs: jax.Array) -> jax.Array:
    """The hs of a stack, a call for each cell."""
    for layer, of_layer in zip(layers, params, strict=True):
        if isinstance(layer, jbptt.Bidirectional):
            forward = jbptt.unroll(layer.forward, of_layer[0], xs)[1]
            xs = jnp.concatenate([forward, jbptt.unroll(layer.backward, of_layer[1], xs, reverse=True)[1]], -1)
        else:
            xs = jbptt.unroll(layer, of_layer, xs)[1]
    return xs


def _of(mode: str, run: Callable) -> Callable:
    def hs(params, xs):
        out = run(params, xs)
        return out[1] if isinstance(out, tuple) else out  # beside the last states

    return hs if mode == "forward" else jax.grad(lambda params, xs: jnp.sum(jnp.square(hs(params, xs))), (0, 1))


def line(rows: list[results.Row]) -> str:
    """Of the Markdown table."""
    sizes = "x".join(str(rows[0][name]) for name in Sizes._fields)
    times = " | ".join(f"{row['at once_ms']:.2f} | {row['ratio']:.2f}x" for row in rows)
    return f"| {rows[0]['cell']} | {sizes} | {rows[0]['layers']} | {times} |"


if __name__ == "__main__":
    main()
