"""`jbptt reproduce`: published results, run again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from jbptt.app.errors import UserError
from jbptt.app.json_lines import json_line
from jbptt.app.options import FILE, POSITIVE


@click.command()
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option("--quick", is_flag=True, help="Only a few rows, which take three minutes.")
@click.option("--seeds", type=POSITIVE, default=3, show_default=True, help="Of each run: 0, 1, ...")
@click.option("--out", type=FILE, default="runs/reproduce", show_default=True, help="Folder of the runs and results.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a run and a row.")
def reproduce(names: tuple[str, ...], quick: bool, seeds: int, out: Path, as_json: bool) -> int:
    """Run published results again, ROWS of a table, and say what agrees.

    Each run with each seed has its folder in --out: the same command does not run again what is done, and goes on with
    what was interrupted. results.csv and results.md, all that is done beside what was published, are written after each
    run. Without ROWS it runs all but those that take long, in about an hour on two cores.
    """
    from jbptt.app.files import check_name
    from jbptt.app.reproduce import findings, running
    from jbptt.app.reproduce.table import ROWS

    rows = _chosen(ROWS, names, quick)
    check_name("--out", out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is no folder: name another")
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        for job in running.jobs([row], seeds, out):
            if running.results_of(job) is None and not _done(job, as_json):
                return 130
            findings.write(ROWS, seeds, out)
        if as_json:
            click.echo(json_line({"event": "row", **findings.json_of(findings.find(row, seeds, out))}))
    if not as_json:
        click.echo(f"\n{findings.table([findings.find(row, seeds, out) for row in rows])}")
        click.echo(f"\n{out / 'results.csv'}, {out / 'results.md'}")
    return 0


def _chosen(rows: Sequence[Any], names, quick):
    """The rows of these names, or those that are run without names. Raises UserError for others."""
    if quick and names:
        raise UserError("--quick and ROW contradict each other: give one of them")
    known = {row.name: row for row in rows}
    for name in names:
        if name not in known:
            raise UserError(f"ROW {name!r} is unknown: choose from {', '.join(known)}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    return [row for row in rows if row.when == "quick" or (row.when == "whole" and not quick)]


def _done(job, as_json):
    """Does a run and tells of it; returns whether it came to its end."""
    from jbptt.app.reporting import run_reporter
    from jbptt.app.reproduce import running

    with run_reporter(as_json=as_json) as reporter:
        results = running.do(job, reporter)
    of_run = {"row": job.row.name, "run": job.name, "seed": job.seed}
    named = f"{job.row.name}, {job.name}, seed {job.seed}"
    if results is None:
        text = f"{named}: interrupted, and a checkpoint saved; the same command goes on"
        click.echo(json_line({"event": "interrupted", **of_run}) if as_json else text)
        return False
    figures = {name: figure.of(results) for name, figure in job.run.figures.items()}
    told = ", ".join(f"{name} {figure.form.format(figures[name])}" for name, figure in job.run.figures.items())
    text = f"{named}: {told}  ({results['seconds']:.0f} s)"
    fields = {"event": "run", **of_run, "figures": figures, "seconds": results["seconds"]}
    click.echo(json_line(fields) if as_json else text)
    return True
