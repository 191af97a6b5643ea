"""A whole training step of the character model: ours, ours by jax.grad, flax.nnx with optax, and PyTorch.

    python -m benchmarks.training                    # ten minutes on two cores
    python -m benchmarks.training --quick

Everybody starts from the same weights and has the same losses first; then they take turns. PyTorch has a process of its
own for each number of threads. Prints a Markdown table, and writes a CSV.
"""

import contextlib
import os

import click
import numpy as np

from benchmarks.contestants.protocol import LeftOut
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.peak import jax_peak_gflops
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.rounds import interleave
from benchmarks.steps.in_jax import flax_nnx, ours
from benchmarks.steps.in_pytorch import TorchStepRunner
from benchmarks.steps.problem import GRID, Sizes, flops, random_problem

QUICK = (Sizes(6, 2, 8, 2, 5),)
OURS, AUTO, FLAX = "jbptt manual", "jbptt auto", "flax.nnx"
TORCH = {
    f"torch{model}, {'all threads' if threads is None else '1 thread'}": (embedded, threads)
    for model, embedded in (("", False), (" embedding", True))
    for threads in (1, None)
}
"""(embedded, threads) of each."""
CONTESTANTS = (OURS, AUTO, FLAX, *TORCH)
STEPS, TOLERANCE = 5, 1e-3
"""Losses that are compared, and how far they may be from ours, relatively: rounding grows from step to step."""


class SizesList(click.ParamType):
    """ "64x16x128x1x222": T x B x H x L x K."""

    name = "TxBxHxLxK,..."

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            return tuple(Sizes(*map(int, sizes.split("x"))) for sizes in value.split(","))
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not TxBxHxLxK,... as in 64x16x128x1x222", param, ctx)


@click.command(help=__doc__.split("\n")[0])
@click.option("--sizes", type=SizesList(), default=GRID, help="Default: the grid.")
@click.option("--contestants", type=options.Names(CONTESTANTS), default=list(CONTESTANTS), help="Default: everybody.")
@click.option("--rounds", default=20, show_default=True, help="At most, a point.")
@click.option("--seconds", default=60.0, show_default=True, help="To be spent timing a point.")
@options.out
@options.quick
def main(sizes, contestants, rounds, seconds, out, quick):
    if quick:
        sizes, rounds, seconds = QUICK, 3, 1.0
    shared = machine.facts()
    file = results.start("training", out, False, {})
    click.echo(f"| T x B x H x L x K | {' | '.join(contestants)} | of the peak |")
    click.echo("| --- |" + " ---: |" * (len(contestants) + 1))
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker()) for name in contestants if name in TORCH}
        for size in sizes:
            rows = measure(size, contestants, workers, rounds, seconds, 256 if quick else 2048)
            file.add([shared | row for row in rows])
            click.echo(line(size, rows))
    click.echo(file.path, err=True)


def measure(
    sizes: Sizes, names: list[str], workers: dict[str, Worker], rounds: int, seconds: float, product_size: int
) -> list[results.Row]:
    """Rows for every contestant: who is left out, or has other losses, says so and is not timed."""
    problem, runners, columns = random_problem(sizes), {}, {}
    expected = ours(problem, "auto").losses(STEPS)
    for name in names:
        try:
            runner = _runner(name, problem, workers)
        except LeftOut as reason:
            columns[name] = {"status": "left out", "reason": str(reason)}
            continue
        error = 0.0 if runner.note else float(np.max(np.abs(runner.losses(STEPS) / expected - 1)))
        columns[name] = {"max_error": error, "reason": runner.note}
        columns[name]["status"] = "timed" if error <= TOLERANCE else "disagrees"
        if error <= TOLERANCE:
            runners[name] = runner
    peak = jax_peak_gflops(n=product_size)
    times = interleave(runners, "step", rounds=rounds, seconds=seconds)
    rows = []
    for name in names:
        row = {"date": machine.now(), **sizes._asdict(), "contestant": name, "load": os.getloadavg()[0]}
        if name in runners:
            gflops = flops(sizes) / times[name].ms / 1e6
            row |= times[name]._asdict() | runners[name].facts("step")
            row |= {"gflops": gflops, "peak_jax_gflops": peak, "fraction_of_peak": gflops / peak}
        rows.append(row | columns[name])
    return rows


def _runner(name, problem, workers):
    if name in TORCH:
        return workers[name].hold(TorchStepRunner, problem, *TORCH[name])
    return flax_nnx(problem) if name == FLAX else ours(problem, "auto" if name == AUTO else "manual")


def line(sizes: Sizes, rows: list[results.Row]) -> str:
    """Of the Markdown table: ours in milliseconds, the others as multiples of it."""
    base = next((row["ms"] for row in rows if row["contestant"] == OURS and "ms" in row), None)
    cells = []
    for row in rows:
        if "ms" not in row:
            cells.append(row["status"])
        elif row["contestant"] == OURS or base is None:
            cells.append(f"{row['ms']:.2f} ms [{row['q1']:.2f}, {row['q3']:.2f}]")
        else:
            cells.append(f"{row['ms'] / base:.2f}")
    peak = next((row["fraction_of_peak"] for row in rows if row["contestant"] == OURS and "ms" in row), None)
    return f"| {sizes} | {' | '.join(cells)} | {'' if peak is None else f'{peak:.0%}'} |"


if __name__ == "__main__":
    main()
