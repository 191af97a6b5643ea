"""How ours grows: time, temporary memory, compile time and program size against T, B and H.

    python -m benchmarks.scaling                     # about a quarter of an hour on two cores
    python -m benchmarks.scaling --resume
    python -m benchmarks.scaling --quick
    python -m benchmarks.plots benchmarks/results/scaling-*.csv

Time and memory should be straight lines in T; compile time and program size flat. Two contestants by default, the
hand-derived backward pass and JAX's; any JAX contestant may be named.
"""

import click
import jax
import jax.numpy as jnp

from benchmarks.contestants.protocol import LeftOut
from benchmarks.contestants.roster import ROSTER, TORCH
from benchmarks.measuring import agreement, machine, options, results
from benchmarks.measuring.rounds import interleave
from benchmarks.measuring.runners import JaxRunner
from benchmarks.problem import MODES, Problem, Sizes, flops, random_problem

SWEEPS = {
    "T": [Sizes(T, 16, 32, 64) for T in (100, 300, 1000, 3000, 10_000, 30_000, 100_000)],
    "B": [Sizes(100, B, 64, 128) for B in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)],
    "H": [Sizes(100, 16, H, H) for H in (16, 32, 64, 128, 256, 512, 1024)],
}
QUICK = {
    "T": [Sizes(T, 2, 4, 8) for T in (10, 100)],
    "B": [Sizes(10, B, 4, 8) for B in (1, 4)],
    "H": [Sizes(10, 2, H, H) for H in (4, 16)],
}


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sweeps", type=options.Names(SWEEPS), default=",".join(SWEEPS), show_default=True)
@click.option(
    "--contestants",
    type=options.Names(name for name in ROSTER if name != TORCH),
    default="jbptt manual,jbptt auto",
    show_default=True,
)
@click.option("--rounds", default=10, show_default=True, help="At most, a point and mode.")
@click.option("--seconds", default=20.0, show_default=True, help="To be spent timing a point.")
@options.out
@options.resume
@options.quick
def main(cells, sweeps, contestants, rounds, seconds, out, resume, quick):
    if quick:
        rounds, seconds = 3, 1.0
    shared = machine.facts()
    file = results.start("scaling", out, resume, {name: shared[name] for name in results.SAME})
    for cell in cells:  # at a tiny size, for float64's reference of the largest would take longer than the sweep
        problem = random_problem(cell, QUICK["T"][0])
        agreement.require(runners_of(contestants, problem), problem)
    for sweep in sweeps:
        for sizes in (QUICK if quick else SWEEPS)[sweep]:
            for cell in cells:
                if file.has(sweep=sweep, cell=cell, **sizes._asdict()):
                    continue
                rows = measure(cell, sizes, contestants, rounds, seconds)
                file.add([shared | {"date": machine.now(), "sweep": sweep} | row for row in rows])
                ms = ", ".join(f"{row['contestant']} {row['ms']:.3g} ms" for row in rows if row["mode"] == "gradients")
                click.echo(f"{sweep} {cell} {sizes}: {ms}", err=True)
    click.echo(file.path)


def runners_of(contestants: list[str], problem: Problem) -> dict[str, JaxRunner]:
    runners = {}
    for name in contestants:
        try:
            contestant = ROSTER[name].build(problem.cell, jax.tree.map(jnp.asarray, problem.weights))
            runners[name] = JaxRunner(contestant, problem)
        except LeftOut as reason:
            click.echo(f"{problem.cell}: {name} is left out: {reason}", err=True)
    return runners


def measure(cell: str, sizes: Sizes, contestants: list[str], rounds: int, seconds: float) -> list[results.Row]:
    runners = runners_of(contestants, random_problem(cell, sizes))
    rows = []
    for mode in MODES:
        facts = {
            name: runner.facts(mode) | {"program_instructions": runner.program_size(mode)}
            for name, runner in runners.items()
        }
        times = interleave(runners, mode, rounds=rounds, seconds=seconds / len(MODES))
        for name in runners:
            row = {"cell": cell, **sizes._asdict(), "contestant": name, "mode": mode, "status": "timed"}
            gflops = flops(cell, sizes, mode) / times[name].ms / 1e6
            rows.append(row | times[name]._asdict() | facts[name] | {"gflops": gflops})
    jax.clear_caches()
    return rows


if __name__ == "__main__":
    main()
