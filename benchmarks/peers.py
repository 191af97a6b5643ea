"""Ours against everybody: the value and all gradients of one recurrent layer, and its forward alone.

    python -m benchmarks.peers                       # the whole grid: about an hour on two cores
    python -m benchmarks.peers --resume              # go on where a killed run stopped
    python -m benchmarks.peers --quick               # a minute, to see that everything runs
    python -m benchmarks.report benchmarks/results/peers-*.csv

Writes a CSV row for every contestant, cell, size and mode, see measuring/point.py; NOTES.md has the method.
"""

import contextlib
import os

import click

from benchmarks.contestants.roster import ROSTER
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.point import Options, measure_point, summary
from benchmarks.measuring.remote import Worker
from benchmarks.problem import GRID, Sizes, random_problem

QUICK = (Sizes(16, 4, 8, 16),)


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sizes", type=options.SizesList(), default=GRID, help="Default: the grid.")
@click.option("--contestants", type=options.Names(ROSTER), default=list(ROSTER), help="Default: everybody.")
@click.option("--rounds", default=20, show_default=True, help="At most, a point and mode.")
@click.option(
    "--seconds", default=90.0, show_default=True, help="To be spent timing a point, all contestants together."
)
@click.option(
    "--torch-process",
    type=click.Choice(["own", "same"]),
    default="own",
    show_default=True,
    help="Where PyTorch runs, see benchmarks.thread_pools.",
)
@options.out
@options.resume
@options.quick
def main(cells, sizes, contestants, rounds, seconds, torch_process, out, resume, quick):
    if quick:
        sizes, rounds, seconds = QUICK, 3, 1.0
    shared = machine.facts()
    file = results.start("peers", out, resume, {name: shared[name] for name in results.SAME})
    points = [(cell, size) for size in sizes for cell in cells]
    if os.getloadavg()[0] > shared["cores"] / 2:
        click.echo("The machine is at other work: PyTorch's threads wait for each other, and suffer most.", err=True)
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(Worker()) if torch_process == "own" else None
        for number, (cell, size) in enumerate(points, 1):
            if file.has(cell=cell, **size._asdict()):
                continue
            point_options = Options(rounds, seconds, product_size=256 if quick else 2048)
            rows = measure_point(random_problem(cell, size), contestants, worker, point_options)
            file.add([shared | {"torch_process": torch_process} | row for row in rows])
            click.echo(f"[{number}/{len(points)}] {cell} {size}: {summary(rows)}", err=True)
    click.echo(file.path)


if __name__ == "__main__":
    main()
