"""A training step's core, value and every gradient, and the forward alone: ours against everyone's.

    python -m benchmarks.peers                      the whole grid, about an hour on two cores
    python -m benchmarks.peers --quick              one small size, to see that everything runs

Every contestant has the same weights, inputs and random cotangents. Before it is timed its outputs and its gradients
(of every weight, the inputs and the initial state) are held to ours; one that disagrees is named and left out. Then all
take turns, round after round. Rows go to the CSV as soon as a size is done, so that a killed run keeps what it has.
"""

import csv
import datetime
import importlib
import os
import platform
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import jax
import jax.numpy as jnp
import numpy as np

import jbptt
from benchmarks.contestants import CELLS, Contestant, ours, plain_scan
from benchmarks.grid import GRID, flops
from jbptt.comparison.pair import leaf_errors, random_cotangents, value_and_gradients
from jbptt.comparison.rows import Sizes, cell_arguments

AGREEMENT = 1e-4
"""Largest error relative to a leaf's largest entry, float32: products of up to 4096 terms, in another order."""

COLUMNS = (
    *("date", "device", "cores", "cell", "T", "B", "I", "H", "mode", "contestant"),
    *("ms", "ms_q1", "ms_q3", "rounds", "compile_s", "temp_bytes", "fraction_of_peak", "largest_error"),
    *("peak_gflops", "jax", "torch", "versions"),
)

PACKAGES = ("jax", "jaxlib", "flax", "equinox", "dm-haiku", "keras", "torch")


def jax_contestants() -> list[Contestant]:
    """Ours, the plain scan, and those of the other libraries that are installed."""
    found = [ours.manual, ours.auto, plain_scan.contestant]
    for module in ("flax_nnx", "flax_linen", "equinox_cells", "haiku_unroll", "keras_layers"):
        try:
            found.append(importlib.import_module(f"benchmarks.contestants.{module}").contestant)
        except ImportError as error:
            click.echo(f"{module} is left out: {error}", err=True)
    return found


def arguments(cell: str, sizes: Sizes):
    """(params, xs, state as a tuple), float32; the GRU's candidate bias is zero, for a library that has none."""
    params, xs, state = cell_arguments(getattr(jbptt, cell), jax.random.key(0), sizes, jnp.float32)
    if cell == "gru":
        params["bn"] = jnp.zeros_like(params["bn"])
    return params, xs, tuple(state)


class Program:
    """A contestant's compiled step and forward at one size, and how far its results are from ours."""

    def __init__(self, contestant: Contestant, cell: str, args: tuple, cotangents):
        params, xs, state = args
        self.name = contestant.name
        own = contestant.convert(cell, params)
        run = partial(contestant.run, cell)
        start = time.perf_counter()
        step = jax.jit(value_and_gradients(run)).lower((own, xs, state), cotangents).compile()
        self.compile_s = time.perf_counter() - start
        forward = jax.jit(run).lower(own, xs, state).compile()
        self.temp_bytes = step.memory_analysis().temp_size_in_bytes
        self.forward_temp_bytes = forward.memory_analysis().temp_size_in_bytes
        self.step = lambda: jax.block_until_ready(step((own, xs, state), cotangents))
        self.forward = lambda: jax.block_until_ready(forward(own, xs, state))
        self._convert, self._args, self._cell = contestant.convert, args, cell
        self._lacks = contestant.lacks.get(cell, ())

    def result(self):
        """Outputs and gradients, the weights' in our layout: the transpose of `convert` takes them there."""
        return _in_our_layout(self._convert, self._cell, self._args[0], self.step(), self._lacks)


class TorchProgram:
    """PyTorch's. It shares the process: see NOTES.md on the two runtimes' threads."""

    def __init__(self, cell: str, args: tuple, cotangents, device: str):
        import torch

        from benchmarks.contestants import torch_layers

        params, xs, state = args
        self.name = "PyTorch" + ("" if device == "cpu" else " (cuDNN)")
        self.compile_s = self.temp_bytes = self.forward_temp_bytes = None
        if device == "cpu":
            torch.set_num_threads(os.cpu_count())
        own = torch_layers.convert(cell, params)
        self.step, self.forward = torch_layers.program(cell, own, xs, state, cotangents, device)
        self._convert, self._cell, self._params = torch_layers.convert, cell, params

    def result(self):
        return _in_our_layout(self._convert, self._cell, self._params, self.step.result(), ())


def _in_our_layout(convert, cell, params, result, lacks):
    own, d_xs, d_state = jax.tree.map(jnp.asarray, result["gradient"])
    dparams = jax.vjp(partial(convert, cell), params)[1](own)[0]
    dparams = {name: gradient for name, gradient in dparams.items() if name not in lacks}
    return {"output": jax.tree.map(np.asarray, result["output"]), "gradient": (dparams, d_xs, d_state)}


def measure(cell: str, sizes: Sizes, contestants: list, torch_device: str | None, rounds: int, seconds: float):
    """Yields a row for every contestant and mode. Rounds end at `rounds` or after `seconds`, at 3 at the least."""
    args = arguments(cell, sizes)
    cotangents = random_cotangents(partial(ours.auto.run, cell), args)
    programs = [Program(c, cell, args, cotangents) for c in contestants if cell in c.cells]
    if torch_device:
        programs.append(TorchProgram(cell, args, cotangents, torch_device))
    expected, agreeing = programs[0].result(), []
    for program in programs:
        result = program.result()
        reference = {"output": expected["output"], "gradient": (_shared(expected, result), *expected["gradient"][1:])}
        error = max(leaf_errors(result, reference).values())
        if error <= AGREEMENT:
            agreeing.append((program, error))
        else:
            click.echo(f"{program.name} disagrees at {cell} {tuple(sizes[:4])}: error {error:.1e}; not timed", err=True)
    size = {"cell": cell, "T": sizes.T, "B": sizes.B, "I": sizes.I, "H": sizes.H}
    for mode in ("gradients", "forward"):
        calls = [getattr(program, "step" if mode == "gradients" else "forward") for program, _ in agreeing]
        times, peak = _interleaved(calls, rounds, seconds)
        work = flops(cell, sizes, gradients=mode == "gradients")
        for (program, error), ms in zip(agreeing, times, strict=True):
            temp = program.temp_bytes if mode == "gradients" else program.forward_temp_bytes
            yield size | {
                "mode": mode,
                "contestant": program.name,
                "ms": round(float(np.median(ms)), 4),
                "ms_q1": round(float(np.quantile(ms, 0.25)), 4),
                "ms_q3": round(float(np.quantile(ms, 0.75)), 4),
                "rounds": len(ms),
                "compile_s": program.compile_s and round(program.compile_s, 3),
                "temp_bytes": temp,
                "fraction_of_peak": round(work / (np.median(ms) * 1e6) / peak, 4),
                "largest_error": f"{error:.1e}",
                "peak_gflops": round(peak, 1),
            }


def _shared(expected, result):
    return {name: expected["gradient"][0][name] for name in result["gradient"][0]}


def _interleaved(calls, rounds, seconds):
    """(milliseconds [contestant][round], the product peak in Gflop/s, measured in the same rounds)."""
    n = 1024
    square = jnp.ones((n, n), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    calls = [*calls, lambda: jax.block_until_ready(product(square))]
    for call in calls:
        call()
    times, began = [[] for _ in calls], time.perf_counter()
    for number in range(rounds):
        for call, ms in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            ms.append((time.perf_counter() - start) * 1e3)
        if number >= 2 and time.perf_counter() - began > seconds:
            break
    return times[:-1], 2 * n**3 / (np.quantile(times[-1], 0.25) * 1e6)


def environment() -> dict[str, str]:
    """What every row says of where it was measured."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "device": _processor() if jax.default_backend() == "cpu" else jax.devices()[0].device_kind,
        "cores": str(os.cpu_count()),
        "jax": versions["jax"],
        "torch": versions.get("torch", ""),
        "versions": " ".join(f"{name}={number}" for name, number in versions.items()),
    }


def _processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


@click.command(help=__doc__)
@click.option("--cells", default=",".join(CELLS), show_default=True)
@click.option("--sizes", "size_texts", multiple=True, metavar="T,B,I,H", help="Only these.  [default: the grid]")
@click.option("--rounds", default=30, show_default=True, help="At most.")
@click.option("--seconds", default=20.0, show_default=True, help="For the rounds of one size, about.")
@click.option("--quick", is_flag=True, help="One small size, three rounds.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/peers.csv"), show_default=True)
def main(cells, size_texts, rounds, seconds, quick, out):
    sizes = [Sizes(*map(int, text.split(","))) for text in size_texts] or list(GRID)
    if quick:
        sizes, rounds = [Sizes(8, 2, 3, 4)], 3
    contestants, torch_device = jax_contestants(), None
    if _installed("torch"):
        import torch

        torch_device = "cuda" if torch.cuda.is_available() else "cpu"
    fresh = not out.exists()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for cell in cells.split(","):
            for size in sizes:
                rows = list(measure(cell, size, contestants, torch_device, rounds, seconds))
                writer.writerows(environment() | row for row in rows)
                file.flush()
                best = {row["contestant"]: row["ms"] for row in rows if row["mode"] == "gradients"}
                line = "  ".join(f"{name} {ms / best['jbptt manual']:.2f}" for name, ms in best.items())
                click.echo(f"{cell} {tuple(size[:4])}  ours {best['jbptt manual']:.2f} ms; as multiples: {line}")


def _installed(package):
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
