"""From how many rows on the kernels are faster than the scan: by themselves, and as the body of a loop.

    python -m benchmarks.small_calls                 # ten minutes
    python -m benchmarks.small_calls --quick

Prints a Markdown table, the scan's time over the kernels', and writes a CSV. The CPU backend's `preferred` goes by it.
"""

from functools import partial

import click
import jax
import jax.numpy as jnp

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import Sizes
from jbptt.cells.table import CELLS as TABLE

ROWS = ((1, 64), (2, 8), (2, 32), (4, 16), (16, 1), (16, 4), (16, 16), (64, 1), (64, 4), (256, 1))
UNITS = (64, 128, 256)
GRID = tuple(Sizes(T, B, H, H) for H in UNITS for T, B in ROWS)
QUICK = (Sizes(4, 4, 8, 8),)
LOOP = 8
"""Calls of a loop, each with inputs of its own."""


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sizes", type=options.SizesList(), default=GRID, help="Default: a grid of few rows.")
@click.option("--rounds", default=40, show_default=True)
@options.out
@options.quick
def main(cells, sizes, rounds, out, quick):
    sizes, rounds = (QUICK, 3) if quick else (sizes, rounds)
    shared = machine.facts()
    file = results.start("small_calls", out, False, {})
    click.echo("| cell | T x B x I x H | forward | gradients | forward, in a loop | gradients, in a loop |")
    click.echo("| --- | --- | ---: | ---: | ---: | ---: |")
    for size in sizes:
        for cell in cells:
            row = {"cell": cell, **size._asdict()} | measure(cell, size, rounds)
            file.add([shared | {"date": machine.now()} | row])
            ratios = [f"{value:.2f}" for key, value in row.items() if key.endswith("ratio")]
            click.echo(f"| {cell} | {size} | {' | '.join(ratios)} |")
    click.echo(file.path, err=True)


def measure(cell: str, sizes: Sizes, rounds: int) -> results.Row:
    """Milliseconds of both, and their ratio, of each of the four."""
    params = TABLE[cell].init(jax.random.key(0), sizes.I, sizes.H)
    xs = jax.random.normal(jax.random.key(1), (LOOP, sizes.T, sizes.B, sizes.I))
    row = {}
    for looped in (False, True):
        for mode in ("forward", "gradients"):
            programs = {}
            for backend in ("cpu", "scan"):
                one = _of(mode, partial(jbptt.unroll, TABLE[cell], backend=backend))
                function = partial(jax.lax.map, partial(one, params)) if looped else partial(one, params)
                given = xs if looped else xs[0]
                programs[backend] = partial(jax.jit(function).lower(given).compile(), given)
            times = in_turns(programs, rounds)
            name = f"{mode}{' in a loop' if looped else ''}"
            row |= {f"{name} {backend}_ms": times[backend]["ms"] for backend in programs}
            row |= {f"{name} ratio": times["scan"]["ms"] / times["cpu"]["ms"]}
    return row


def _of(mode, unroll):
    if mode == "forward":
        return lambda params, xs: unroll(params, xs)[1]
    return jax.grad(lambda params, xs: jnp.sum(jnp.square(unroll(params, xs)[1])), (0, 1))


if __name__ == "__main__":
    main()
