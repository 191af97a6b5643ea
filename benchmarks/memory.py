"""What the way back needs kept, and what keeping less costs in time: an LSTM against T, other cells and sizes beside.

    python -m benchmarks.memory                      # a quarter of an hour on two cores
    python -m benchmarks.memory --quick
    python -m benchmarks.plots benchmarks/results/memory-*.csv

All are scans: the C++ kernels have no checkpoints. Residuals are what `jax.vjp` holds between the forward and the
backward, its arguments apart: exact, from shapes alone. Times are of the value and all gradients, compiled, in turns.
"""

from functools import partial

import click
import jax
import jax.numpy as jnp

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import CELLS as NAMES, Sizes
from jbptt.cells.table import CELLS

SWEEP = [("lstm", Sizes(T, 16, 32, 64)) for T in (100, 300, 1000, 3000, 10_000, 30_000, 100_000)]
OTHERS = [
    (cell, Sizes(1000, *sizes))
    for cell in NAMES
    for sizes in ((16, 64, 64), (4, 64, 128), (32, 128, 128), (8, 256, 256))
]
QUICK = [("lstm", Sizes(10, 2, 3, 4)), ("lstm", Sizes(100, 2, 3, 4))]
WAYS = {
    "manual": {"backend": "xla"},
    "auto": {"vjp": "auto"},
    "manual, √T": {"checkpoint": "sqrt"},
    "auto, √T": {"checkpoint": "sqrt", "vjp": "auto"},
}


@click.command(help=__doc__.split("\n")[0])
@click.option("--rounds", default=9, show_default=True)
@options.out
@options.quick
def main(rounds, out, quick):
    file = results.start("memory", out, False, {})
    shared = machine.facts()
    click.echo("| | way | residuals, MiB | temporary, MiB | ms | quartiles |\n|---|---|---:|---:|---:|---|")
    for cell, sizes in QUICK if quick else SWEEP + OTHERS:
        rows = measure(CELLS[cell], sizes, 3 if quick else rounds)
        file.add([shared | {"date": machine.now(), "cell": cell, **sizes._asdict()} | row for row in rows])
        for row in rows:
            residuals, temporary = row["residual_bytes"] / 2**20, row["temp_bytes"] / 2**20
            click.echo(
                f"| {cell} {sizes} | {row['way']} | {residuals:.2f} | {temporary:.2f} "
                f"| {row['ms']:.4g} | {row['q1']:.4g} to {row['q3']:.4g} |"
            )
    click.echo(file.path, err=True)


def measure(cell: jbptt.Cell, sizes: Sizes, rounds: int) -> list[results.Row]:
    key = jax.random.key(0)
    args = cell.init(key, sizes.I, sizes.H), jax.random.normal(key, (sizes.T, sizes.B, sizes.I))
    programs, rows = {}, {}
    for way, chosen in WAYS.items():
        run = partial(jbptt.unroll, cell, **chosen)
        gradients = jax.value_and_grad(lambda *args, run=run: jnp.sum(run(*args)[1] ** 2), (0, 1))
        program = jax.jit(gradients).lower(*args).compile()
        programs[way] = partial(program, *args)
        rows[way] = {
            "way": way,
            "residual_bytes": residual_bytes(run, args),
            "temp_bytes": program.memory_analysis().temp_size_in_bytes,
        }
    times = in_turns(programs, rounds)
    return [rows[way] | times[way] for way in WAYS]


def residual_bytes(run, args) -> int:
    """Of what `jax.vjp` keeps of run(*args), less the arguments."""
    kept = jax.eval_shape(lambda *args: jax.vjp(run, *args)[1], *args)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)) - sum(x.nbytes for x in jax.tree.leaves(args))


if __name__ == "__main__":
    main()
