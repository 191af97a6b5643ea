"""Ours on a GPU: against flax.nnx and equinox, and against cuDNN from JAX and from PyTorch.

    python -m benchmarks.gpu                         # stops by itself after 7 minutes; saves as it goes
    python -m benchmarks.gpu --resume
    python -m benchmarks.gpu --quick                 # tiny sizes, to see that everything runs, also without a GPU

Needs jax with CUDA, flax and equinox, and torch with CUDA for cuDNN's GRU and its halves; who is missing is left out
with the reason. Agreement with float64 comes first at every point; times are of many calls put in line and waited
for once, so that it is the device's time where the device is the slower; on an idle machine. Writes a CSV and, when
it ends, Markdown beside it.

Precisions: float32 (TF32 off, in JAX and in PyTorch), tf32, bfloat16; float16 for PyTorch only, for jbptt has none.
The order is that of interest: the point that FlashRNN published (B 16, T 1024, H 768; on an H100, forward and both
in ms: cuDNN fp16 2.01 and 5.19; FlashRNN fused bf16 4.87 and 13.6; plain PyTorch 147 and 484), then a grid.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too; read before JAX starts

import time
from pathlib import Path

import click
import jax

from benchmarks.contestants.roster import ROSTER, TORCH
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.point import PRECISIONS, Options, measure_point, summary
from benchmarks.measuring.remote import Worker
from benchmarks.problem import Sizes, random_problem
from benchmarks.report import markdown

CONTESTANTS = ["jbptt manual", "jbptt auto", "plain scan", "flax.nnx", "equinox", "cuDNN (jax)", TORCH]
PUBLISHED = Sizes(1024, 16, 768, 768)
AROUND = tuple(
    [Sizes(1024, B, 768, 768) for B in (1, 64, 256)]
    + [Sizes(1024, 16, H, H) for H in (64, 256, 512, 1024)]
    + [Sizes(T, 16, 768, 768) for T in (128, 4096)]
    + [Sizes(128, 256, 1024, 1024), Sizes(4096, 1, 64, 64)]
)
QUICK = (Sizes(12, 4, 8, 16), Sizes(8, 2, 16, 16))


@click.command(help=__doc__.split("\n")[0])
@click.option(
    "--contestants", type=options.Names(ROSTER), default=CONTESTANTS, help="Default: " + ", ".join(CONTESTANTS)
)
@click.option("--sizes", type=options.SizesList(), help="Default: the published point and the grid around it.")
@click.option("--rounds", default=10, show_default=True, help="At most, a point and mode.")
@click.option("--seconds", default=4.0, show_default=True, help="To be spent timing a point, all contestants together.")
@click.option("--budget", default=420.0, show_default=True, help="Seconds after which no new point begins.")
@options.out
@options.resume
@options.quick
def main(contestants, sizes, rounds, seconds, budget, out, resume, quick):
    start = time.perf_counter()
    if quick:
        sizes, rounds, seconds = sizes or QUICK, 2, 0.2
    published, *around = sizes or (PUBLISHED, *AROUND)
    shared = machine.facts()
    file = results.start("gpu", out, resume, {name: shared[name] for name in results.SAME})
    with Worker() as worker:
        for cell, precision, size in _points(published, around):
            if file.has(cell=cell, precision=precision, **size._asdict()):
                continue
            if time.perf_counter() - start > budget:
                click.echo(f"{budget:.0f} s are over: go on with --resume --out {file.path}", err=True)
                break
            names = [TORCH] if precision == "float16" else contestants
            problem = random_problem(cell, size, PRECISIONS[precision].dtype)
            rows = measure_point(problem, names, worker, Options(rounds, seconds, precision, 256 if quick else 8192))
            file.add([shared | {"torch_process": "own"} | row for row in rows])
            click.echo(f"{time.perf_counter() - start:.0f} s: {cell} {precision} {size}: {summary(rows)}", err=True)
    report = Path(file.path).with_suffix(".md")
    report.write_text(markdown(file.rows) + "\n")
    click.echo(f"{file.path}\n{report}")
    if jax.default_backend() != "gpu":
        click.echo("This was no GPU: the figures say nothing about one.", err=True)


def _points(published, around):
    """The published point in every precision, then the grid for the LSTM, then for the others."""
    yield from ((cell, precision, published) for cell in ("lstm", "gru") for precision in PRECISIONS)
    yield from (("lstm", precision, size) for size in around for precision in ("float32", "bfloat16"))
    yield from ((cell, "float32", size) for size in around for cell in ("gru", "rnn"))


if __name__ == "__main__":
    main()
