"""What the way back needs kept, and what keeping less costs in time: an LSTM against T.

    python -m benchmarks.memory                      # five minutes on two cores
    python -m benchmarks.memory --quick
    python -m benchmarks.plots benchmarks/results/memory-*.csv

Residuals are what `jax.vjp` holds between the forward and the backward, its arguments apart: exact, from shapes alone.
Times are of the value and all gradients, compiled, in turns.
"""

import time
from functools import partial

import click
import jax
import jax.numpy as jnp
import numpy as np

import jbptt
from benchmarks.measuring import machine, options, results

TIMES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
WAYS = {
    "manual": {},
    "auto": {"vjp": "auto"},
    "manual, √T": {"checkpoint": "sqrt"},
    "auto, √T": {"checkpoint": "sqrt", "vjp": "auto"},
}


@click.command(help=__doc__.split("\n")[0])
@click.option("--batch", "B", default=16, show_default=True)
@click.option("--inputs", "I", default=32, show_default=True)
@click.option("--hidden", "H", default=64, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@options.out
@options.quick
def main(B, I, H, rounds, out, quick):
    rounds = 3 if quick else rounds
    file = results.start("memory", out, False, {})
    shared = machine.facts() | {"cell": "lstm", "B": B, "I": I, "H": H}
    click.echo("| T | way | residuals, MiB | temporary, MiB | ms | quartiles |\n|---|---|---:|---:|---:|---|")
    for T in (10, 100) if quick else TIMES:
        rows = measure(T, B, I, H, rounds)
        file.add([shared | {"date": machine.now(), "T": T} | row for row in rows])
        for row in rows:
            residuals, temporary = row["residual_bytes"] / 2**20, row["temp_bytes"] / 2**20
            click.echo(
                f"| {T} | {row['way']} | {residuals:.2f} | {temporary:.2f} "
                f"| {row['ms']:.4g} | {row['q1']:.4g} to {row['q3']:.4g} |"
            )
    click.echo(file.path, err=True)


def measure(T: int, B: int, I: int, H: int, rounds: int) -> list[results.Row]:
    key = jax.random.key(0)
    args = jbptt.lstm.init(key, I, H), jax.random.normal(key, (T, B, I))
    programs, rows = {}, {}
    for way, chosen in WAYS.items():
        run = partial(jbptt.unroll, jbptt.lstm, **chosen)
        gradients = jax.value_and_grad(lambda *args, run=run: jnp.sum(run(*args)[1] ** 2), (0, 1))
        programs[way] = jax.jit(gradients).lower(*args).compile()
        rows[way] = {
            "way": way,
            "residual_bytes": residual_bytes(run, args),
            "temp_bytes": programs[way].memory_analysis().temp_size_in_bytes,
        }
    ms = {way: [] for way in WAYS}
    rng = np.random.default_rng(0)
    for _ in range(rounds + 1):
        for way in rng.permutation(list(WAYS)):
            start = time.perf_counter()
            jax.block_until_ready(programs[way](*args))
            ms[way].append((time.perf_counter() - start) * 1e3)
    for way, row in rows.items():
        row["q1"], row["ms"], row["q3"] = np.quantile(ms[way][1:], [0.25, 0.5, 0.75])
    return list(rows.values())


def residual_bytes(run, args) -> int:
    """Of what `jax.vjp` keeps of run(*args), less the arguments."""
    kept = jax.eval_shape(lambda *args: jax.vjp(run, *args)[1], *args)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)) - sum(x.nbytes for x in jax.tree.leaves(args))


if __name__ == "__main__":
    main()
