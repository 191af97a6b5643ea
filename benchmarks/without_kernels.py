"""What a kernel could gain for cells that have none: the scan's time over that of a like cell's kernel.

    python -m benchmarks.without_kernels             # three minutes
    python -m benchmarks.without_kernels --quick

An estimate: the like cell has at least the gates, and as large products. Prints a Markdown table, and writes a CSV.
"""

from functools import partial

import click
import jax

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import Sizes
from jbptt.cells.table import CELLS as TABLE

LIKE = {
    "gru": "gru",
    "gru_reset_before": "gru",
    "mgu": "gru",
    "gru_heads": "gru",
    "lstm": "lstm",
    "lstm_projected": "lstm",
    "lstm_heads": "lstm",
}
"""The cell whose kernel stands for one; the two that have one are what is known of it."""
GRID = (Sizes(256, 4, 64, 128), Sizes(1000, 16, 64, 64), Sizes(64, 16, 222, 128))
QUICK = (Sizes(4, 4, 8, 8),)


@click.command(help=__doc__.split("\n")[0])
@click.option("--cells", type=options.Names(LIKE), default=",".join(LIKE), show_default=True)
@click.option("--sizes", type=options.SizesList(), default=GRID, help="Default: a grid of three.")
@click.option("--rounds", default=20, show_default=True)
@options.out
@options.quick
def main(cells, sizes, rounds, out, quick):
    sizes, rounds = (QUICK, 3) if quick else (sizes, rounds)
    shared = machine.facts()
    file = results.start("without_kernels", out, False, {})
    click.echo("| T x B x I x H | cell | the kernel's | forward | gradients |\n| --- | --- | --- | ---: | ---: |")
    for size in sizes:
        rows = measure(cells, size, rounds)
        file.add([shared | {"date": machine.now()} | row for row in rows])
        for row in rows:
            ratios = " | ".join(f"{row[f'{mode} ratio']:.2f}" for mode in ("forward", "gradients"))
            click.echo(f"| {size} | {row['cell']} | {row['like']} | {ratios} |")
    click.echo(file.path, err=True)


def measure(cells: list[str], sizes: Sizes, rounds: int) -> list[results.Row]:
    """Rows of milliseconds, scan and like kernel, and their ratios; everybody in turns."""
    rows = [{"cell": cell, "like": LIKE[cell], **sizes._asdict()} for cell in cells]
    for mode in ("forward", "gradients"):
        wanted = dict.fromkeys([*((cell, "scan") for cell in cells), *((LIKE[cell], "cpu") for cell in cells)])
        times = in_turns({which: _program(*which, sizes, mode) for which in wanted}, rounds)
        for row in rows:
            scan, kernel = (times[which]["ms"] for which in ((row["cell"], "scan"), (row["like"], "cpu")))
            row |= {f"{mode} scan": scan, f"{mode} like kernel": kernel, f"{mode} ratio": scan / kernel}
    return rows


def _program(cell, backend, sizes, mode):
    """By the parameters and the inputs, of the sum of the hidden states' squares."""
    params = TABLE[cell].init(jax.random.key(0), sizes.I, sizes.H)
    xs = jax.random.normal(jax.random.key(1), (sizes.T, sizes.B, sizes.I))

    def loss(params, xs):
        _, hs = jbptt.unroll(TABLE[cell], params, xs, backend=backend)
        return (hs * hs).sum()

    function = jax.value_and_grad(loss, argnums=(0, 1)) if mode == "gradients" else loss
    return partial(jax.jit(function).lower(params, xs).compile(), params, xs)


if __name__ == "__main__":
    main()
