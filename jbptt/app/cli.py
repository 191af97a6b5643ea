"""The command line's commands."""

from pathlib import Path
from typing import Any

import click

from jbptt.app.errors import UserError
from jbptt.app.files import read_lines
from jbptt.app.json_lines import json_line
from jbptt.app.options import BEST, FILE, POSITIVE, FiniteNumber, Share, given
from jbptt.app.reproduce_command import reproduce
from jbptt.app.terminal import shown
from jbptt.app.train_commands import train


@click.group()
@click.version_option(package_name="jbptt")
def cli() -> None:
    """Recurrent networks with backpropagation through time derived by hand."""


cli.add_command(train)
cli.add_command(reproduce)


@cli.command()
@click.argument("checkpoint", type=FILE)
@click.option("--prime", default="def ", show_default=True, help="Text to go on from.")
@click.option(
    "--temperature", type=FiniteNumber(zero_included=True), default=0.7, show_default=True, help="0 is the likeliest."
)
@click.option(
    "--top-k", type=click.IntRange(1, 2**31 - 1), help="Of the K likeliest characters alone.  [default: of all]"
)
@click.option("--top-p", type=Share(0, 1, min_open=True), help="Of the fewest that have P of the probability.")
@click.option("--length", type=click.IntRange(1, 10**8), default=400, show_default=True, help="Characters to write.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed.")
@click.option("--best", is_flag=True, help=BEST)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def sample(checkpoint: Path, prime: str, length: int, seed: int, best: bool, as_json: bool, **drawing: Any) -> None:
    """Write text with a trained character model: CHECKPOINT is the folder of a run, or of one of its checkpoints."""
    from jbptt.app.tasks.chars import model, run

    result = run.sample(checkpoint, prime, model.Drawing(**given(drawing)), length, seed, best)
    click.echo(json_line(result) if as_json else shown(result["prime"] + result["text"]))


@cli.command("export")
@click.argument("checkpoint", type=FILE)
@click.argument("file", type=FILE)
@click.option("--best", is_flag=True, help=BEST)
def export(checkpoint: Path, file: Path, best: bool) -> None:
    """Write the parameters of a trained character model into FILE, in the safetensors format: CHECKPOINT is the folder
    of a run, or of one of its checkpoints. `jbptt import` and `jbptt.load` read it."""
    from jbptt.app.tasks.chars import exchange

    exchange.export_run(checkpoint, file, best)
    click.echo(file)


@cli.command("import")
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, help="Folder of the run.  [default: the next free runs/chars-N]")
def import_(file: Path, out: Path | None) -> None:
    """Make a run of FILE, which `jbptt export` wrote: its folder, with one checkpoint, to sample from, or to go on from
    with `jbptt train chars TEXT --resume --out RUN` and an optimiser that starts anew."""
    from jbptt.app.tasks.chars import exchange

    click.echo(exchange.import_run(file, out))


@cli.command()
@click.argument("checkpoint", type=FILE)
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("--file", type=FILE, help="UTF-8 file with a text a line, or an empty one; - is standard input.")
@click.option(
    "--beams", type=click.IntRange(1, 1000), default=4, show_default=True, help="Kept in the search; 1 is greedy."
)
@click.option(
    "--n-best",
    type=POSITIVE,
    default=1,
    show_default=True,
    help="Of the beams, the best first, a line each.",
)
@click.option("--heat-map", type=FILE, help="PNG file to draw into how much each token looks at each of the source.")
@click.option("--best", is_flag=True, help=BEST)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a translation.")
def translate(checkpoint: Path, texts: tuple[str, ...], file, beams, n_best, heat_map, best, as_json: bool) -> None:
    """Translate each TEXT with a model of train dates or train pairs: CHECKPOINT is a run's folder, or one of its
    checkpoints."""
    from jbptt.app.tasks.translation import run

    if n_best > beams:
        raise UserError(f"--n-best {n_best} is more than --beams {beams} finds: ask for more beams")
    lines = [] if file is None else read_lines("--file", file)
    if not texts and not any(lines):
        raise UserError("TEXT must be given, or a --file of them")
    translations = run.translate(checkpoint, list(texts), lines, beams, n_best, heat_map, best)
    for number, of_text in enumerate(translations):
        if number > 0 and n_best > 1 and not as_json:
            click.echo()
        for result in of_text:
            click.echo(json_line(result) if as_json else shown(result["translation"]))


@cli.command()
@click.option("--row", "names", multiple=True, help="Only these rows.  [default: all]")
@click.option(
    "--sizes", default="256,4,64,128", show_default=True, metavar="T,B,I,H", help="Time, batch, inputs, units."
)
@click.option("--dtype", type=click.Choice(["float32", "float64", "bfloat16"]), default="float32", show_default=True)
@click.option("--rounds", type=POSITIVE, default=20, show_default=True, help="Timed calls of each, interleaved.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def compare(names: tuple[str, ...], sizes: str, dtype: str, rounds: int, as_json: bool) -> int:
    """Compare hand-derived gradients with jax.grad's: error, time and memory, a line each.

    The error is the largest of any gradient leaf relative to the leaf's largest entry, in float64; time is the median
    of the value and every gradient; memory is the compiled program's temporaries. Exit status 1 if an error exceeds
    1e-12. Where a C++ kernel runs the recurrence in float32, "manual" is its time, and "scan / kernel" how many times
    as long the scan takes.
    """
    import jax

    from jbptt.app import compare_table, markdown
    from jbptt.comparison.rows import Sizes

    rows, of_rows = compare_table.chosen_rows(names), Sizes(*_sizes(sizes, "T,B,I,H", "256,4,64,128"))
    jax.config.update("jax_enable_x64", dtype == "float64")
    if not as_json:
        click.echo(markdown.head(compare_table.HEADINGS, compare_table.WIDTHS))
    within = True
    for figures in compare_table.measure(rows, of_rows, dtype, rounds):
        within &= figures["error"] <= compare_table.TOLERANCE
        texts = compare_table.texts(figures)
        click.echo(json_line(figures) if as_json else markdown.line(texts, compare_table.WIDTHS))
    return 0 if within else 1


def _sizes(text, symbols, example):
    """The numbers in `text`, as many as there are symbols."""
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(symbols.split(",")) or min(numbers) < 1:
        raise UserError(f"--sizes must be numbers from 1 on, {symbols}, got {text!r}: e.g. {example}")
    return numbers


@cli.command()
@click.option("--sizes", default="64,128", show_default=True, metavar="I,H", help="Inputs, units.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def cells(sizes: str, as_json: bool) -> None:
    """List every cell: its number of parameters, its state, and where its equations are from."""
    from jbptt.app import cells_table, markdown

    rows = list(cells_table.rows(*_sizes(sizes, "I,H", "64,128")))
    if not as_json:
        click.echo(markdown.head(cells_table.HEADINGS, cells_table.WIDTHS))
    for row in rows:
        click.echo(json_line(row) if as_json else markdown.line(cells_table.texts(row), cells_table.WIDTHS))


@cli.group()
def plot() -> None:
    """Draw pictures: of a run, or of what a cell does."""


@plot.command("loss")
@click.argument("run", type=FILE)
def plot_loss(run: Path) -> None:
    """Draw the loss curve of RUN, a run's folder, again."""
    from jbptt.app import curves
    from jbptt.app.plots import plot_losses

    click.echo(plot_losses(run, curves.of_run(run)))


@plot.command("gradients")
@click.option("--length", type=POSITIVE, default=100, show_default=True, help="Steps that the gradient goes back.")
@click.option("--hidden", type=POSITIVE, default=64, show_default=True, help="Units of each cell.")
@click.option("--seeds", type=POSITIVE, default=5, show_default=True, help="Of parameters and inputs, for each curve.")
@click.option("--out", type=FILE, default="gradients.png", show_default=True, help="PNG file; the CSV is beside it.")
def plot_gradients(length: int, hidden: int, seeds: int, out: Path) -> None:
    """Draw how far a gradient reaches back: the spectral norm of what the last state changes by with an earlier h.

    That is ‖∂cᵀ/∂hᵗ‖ against T − t (of cells without a c, ‖∂hᵀ/∂hᵗ‖) at initialisation: of tanh RNNs of several
    spectral radii of W, LSTMs of several forget biases, and a GRU. The median of the seeds, and their range.
    """
    from jbptt.app import gradient_reach
    from jbptt.app.plots import plot_reaches
    from jbptt.interop.writing import write_atomically

    table = out.with_suffix(".csv")
    if out.suffix != ".png":
        raise UserError(f"--out {out} must be a .png file: the figures go into the .csv file beside it")
    if not out.parent.is_dir():
        raise UserError(f"--out {out} cannot be written: there is no folder {out.parent}")
    reaches = list(gradient_reach.reaches(length, hidden, seeds))
    write_atomically(table, gradient_reach.csv_of(reaches))
    click.echo(plot_reaches(out, reaches))
    click.echo(table)
