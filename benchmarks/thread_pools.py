"""Do XLA's and PyTorch's thread pools disturb each other? Each alone, in one process, and in a process of its own.

    python -m benchmarks.thread_pools                # five minutes
    python -m benchmarks.thread_pools --quick

A JAX contestant and PyTorch are timed alone; taking turns in one process; and taking turns with PyTorch in its own
process; with and without the pause that benchmarks.peers makes before each turn. Prints a Markdown table and
writes a CSV. NOTES.md says what was chosen on these figures.
"""

import click
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants.pytorch import TorchRunner
from benchmarks.contestants.roster import OURS, ROSTER, TORCH
from benchmarks.measuring import agreement, machine, options, results
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.rounds import PAUSE_S, interleave
from benchmarks.measuring.runners import JaxRunner
from benchmarks.problem import Sizes, random_problem

SIZES = (Sizes(256, 4, 64, 128), Sizes(128, 32, 128, 128), Sizes(100, 64, 256, 256))
QUICK = (Sizes(16, 4, 8, 16),)


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sizes", type=options.SizesList(), default=SIZES, help="Default: three of the grid's.")
@click.option("--cycles", default=5, show_default=True, help="Of all arrangements, so that drift falls on all alike.")
@options.out
@options.quick
def main(cells, sizes, cycles, out, quick):
    sizes, cycles, rounds = (QUICK, 1, 3) if quick else (sizes, cycles, 5)
    shared = machine.facts()
    file = results.start("thread_pools", out, False, {})
    click.echo("| cell | T x B x I x H | arrangement | pause, ms | jbptt manual, ms | torch, ms |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    with Worker() as worker:
        for size in sizes:
            for cell in cells:
                rows = measure(cell, size, worker, cycles, rounds)
                file.add([shared | {"date": machine.now(), "cell": cell, **size._asdict()} | row for row in rows])
                for row in rows:
                    times = [f"{row[name]:.3g}" if row[name] else "" for name in (OURS, TORCH)]
                    values = [cell, str(size), row["arrangement"], f"{row['pause_ms']:g}", *times]
                    click.echo(f"| {' | '.join(values)} |")
    click.echo(file.path, err=True)


def measure(cell: str, sizes: Sizes, worker: Worker, cycles: int, rounds: int) -> list[results.Row]:
    """Medians over the cycles of the medians of the rounds."""
    problem = random_problem(cell, sizes)
    ours = JaxRunner(ROSTER[OURS].build(cell, jax.tree.map(jnp.asarray, problem.weights)), problem)
    here, there = TorchRunner(problem), worker.hold(TorchRunner, problem)
    agreement.require({OURS: ours, "torch here": here, "torch there": there}, problem)
    arrangements = {
        "JAX alone": {OURS: ours},
        "torch alone, own process": {TORCH: there},
        "torch alone, JAX's process": {TORCH: here},
        "in turns, own process": {OURS: ours, TORCH: there},
        "in turns, one process": {OURS: ours, TORCH: here},
    }
    found = {(name, pause): {OURS: [], TORCH: []} for name in arrangements for pause in (0.0, PAUSE_S)}
    for _ in range(cycles):
        for name, pause in found:
            times = interleave(arrangements[name], "gradients", rounds=rounds, seconds=30, pause=pause)
            for contestant, time in times.items():
                found[name, pause][contestant].append(time.ms)
    return [
        {"arrangement": name, "pause_ms": pause * 1e3}
        | {contestant: float(np.median(ms)) if ms else None for contestant, ms in by_contestant.items()}
        for (name, pause), by_contestant in found.items()
    ]


if __name__ == "__main__":
    main()
