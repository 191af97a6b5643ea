"""Whole training steps of the character model and the dates model, and the time to a validation loss: ours, ours by
jax.grad, flax.nnx with optax, and PyTorch.

    python -m benchmarks.training                                  # twenty minutes on two cores
    python -m benchmarks.training --parts until --text book.txt    # the time to 1.60 nats on a text of one's own
    python -m benchmarks.training --quick

Everybody starts from the same weights and has the same losses first; then they take turns. PyTorch has a process of its
own for each number of threads. Prints Markdown tables, and writes CSVs: the time to a loss into one beside --out.
"""

import contextlib
import os
from pathlib import Path

import click
import numpy as np

from benchmarks.contestants.protocol import LeftOut
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.peak import jax_peak_gflops
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.rounds import interleave
from benchmarks.steps.problem import (
    GRID,
    DatesProblem,
    Sizes,
    StepProblem,
    dates_problem,
    flops,
    random_problem,
    text_problem,
)
from benchmarks.steps.roster import AUTO, OURS, TRAINERS
from benchmarks.steps.until import times_to
from jbptt.app.tasks.chars.corpus import make_corpus, read_texts, standard_library

QUICK = (Sizes(6, 2, 8, 2, 5),)
PARTS = ("chars", "dates", "until")
STEPS, TOLERANCE = 5, 1e-3
"""Losses that are compared, and how far they may be from ours, relatively: rounding grows from step to step."""

TEXT = 1_100_000
"""Characters of the standard library's source code: the text that every machine has."""

LEVEL, LEVEL_OF_TEXT = 1.12, 1.60
"""Nats, of the standard library and of a given text."""

EVERY, MOST = 100, 20_000
"""Steps between validations, and at most."""


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


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--parts", type=options.Names(PARTS), default=",".join(PARTS), show_default=True)
@click.option("--sizes", type=SizesList(), default=GRID, help="Of the character model's steps. Default: the grid.")
@click.option("--contestants", type=options.Names(TRAINERS), default=list(TRAINERS), help="Default: everybody.")
@click.option("--rounds", default=20, show_default=True, help="At most, a point.")
@click.option("--seconds", default=60.0, show_default=True, help="To be spent timing a point.")
@click.option("--text", type=click.Path(path_type=Path), help="To learn. Default: of the standard library.")
@click.option("--until", type=float, help=f"Nats. Default: {LEVEL_OF_TEXT} for a --text, {LEVEL} without.")
@options.out
@options.quick
def main(parts, sizes, contestants, rounds, seconds, text, until, out, quick):
    if quick:
        sizes, rounds, seconds = QUICK, 3, 1.0
    shared = machine.facts()
    problems = [random_problem(size) for size in sizes] if "chars" in parts else []
    if "dates" in parts:
        problems.append(dates_problem(hidden=8, batch=4) if quick else dates_problem())
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker()) for name in contestants if TRAINERS[name].apart}
        if problems:
            file = results.start("training", out, False, {})
            click.echo(f"| T x B x H x L x K | {' | '.join(contestants)} | of the peak |")
            click.echo("| --- |" + " ---: |" * (len(contestants) + 1))
            for problem in problems:
                rows = measure(problem, contestants, workers, rounds, seconds, 256 if quick else 2048)
                file.add([shared | row for row in rows])
                click.echo(line(problem, rows))
            click.echo(file.path, err=True)
        if "until" in parts:
            file = results.start("training-until", out and out.with_stem(f"{out.stem}-until"), False, {})
            until = until or (LEVEL_OF_TEXT if text else LEVEL)
            rows = measure_until(until, text, contestants, workers, quick)
            file.add([shared | row for row in rows])
            click.echo(f"\n| to {until} nats | seconds | steps | seconds / ours |\n| --- | ---: | ---: | ---: |")
            base = next(
                (row["seconds"] for row in rows if row["contestant"] == OURS and row["status"] == "timed"), None
            )
            for row in rows:
                click.echo(line_until(row, base))
            click.echo(file.path, err=True)


def measure(
    problem: StepProblem | DatesProblem,
    names: list[str],
    workers: dict[str, Worker],
    rounds: int,
    seconds: float,
    product_size: int,
) -> list[results.Row]:
    """Rows for every contestant: who is left out, or has other losses, says so and is not timed."""
    columns, runners = _held(problem, names, workers)
    peak = jax_peak_gflops(n=product_size)
    times = interleave(runners, "step", rounds=rounds, seconds=seconds)
    sizes = {"model": "dates"} if isinstance(problem, DatesProblem) else {"model": "chars", **problem.sizes._asdict()}
    rows = []
    for name in names:
        row = {"date": machine.now(), **sizes, "contestant": name, "load": os.getloadavg()[0]}
        if name in runners:
            row |= times[name]._asdict() | runners[name].facts("step")
            if isinstance(problem, StepProblem):
                gflops = flops(problem.sizes) / times[name].ms / 1e6
                row |= {"gflops": gflops, "peak_jax_gflops": peak, "fraction_of_peak": gflops / peak}
        rows.append(row | columns[name])
    return rows


def measure_until(
    nats: float, text: Path | None, names: list[str], workers: dict[str, Worker], quick: bool
) -> list[results.Row]:
    """Rows for every contestant, the character model of `jbptt train chars`."""
    T, B, H, L, _ = QUICK[0] if quick else GRID[0]
    corpus = make_corpus(read_texts([text]) if text else standard_library()[:TEXT], shortest=B * (T + 1))
    problem = text_problem(corpus, Sizes(T, B, H, L, len(corpus.vocabulary)))
    columns, runners = _held(problem, names, workers)
    facts = {name: runner.facts("step") for name, runner in runners.items()}
    every, most = (5, 10) if quick else (EVERY, MOST)
    found = times_to(nats, runners, problem, corpus.validation, every=every, most=most)
    row = {"date": machine.now(), "text": text.name if text else "standard library", **problem.sizes._asdict()}
    row |= {"until": nats, "load": os.getloadavg()[0]}
    return [row | {"contestant": name} | columns[name] | facts.get(name, {}) | found.get(name, {}) for name in names]


def _held(problem, names, workers):
    """(columns of each contestant, the runners of those that agree)."""
    columns, runners = {}, {}
    expected = _runner(AUTO, problem, {}).losses(STEPS)
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
    return columns, runners


def _runner(name, problem, workers):
    trainer = TRAINERS[name]
    make = trainer.dates if isinstance(problem, DatesProblem) else trainer.chars
    if make is None:
        raise LeftOut("no such model")
    return workers[name].hold(make, problem) if trainer.apart else make(problem)


def line(problem: StepProblem | DatesProblem, rows: list[results.Row]) -> str:
    """Of the Markdown table: ours in milliseconds, the others as multiples of it."""
    base = next((row for row in rows if row["contestant"] == OURS and "ms" in row), {})
    cells = []
    for row in rows:
        if "ms" not in row:
            cells.append(row["status"])
        elif row["contestant"] == OURS or not base:
            cells.append(f"{row['ms']:.2f} ms [{row['q1']:.2f}, {row['q3']:.2f}]")
        else:
            cells.append(f"{row['ms'] / base['ms']:.2f}")
    peak = f"{base['fraction_of_peak']:.0%}" if "fraction_of_peak" in base else ""
    return f"| {problem.sizes} | {' | '.join(cells)} | {peak} |"


def line_until(row: results.Row, base: float | None) -> str:
    """Of the second table; `base`: our seconds."""
    if row["status"] != "timed":
        return f"| {row['contestant']} | {row['status']} | {row.get('steps', '')} | |"
    ratio = f"{row['seconds'] / base:.2f}" if base else ""
    return f"| {row['contestant']} | {row['seconds']:.1f} | {row['steps']} | {ratio} |"


if __name__ == "__main__":
    main()
