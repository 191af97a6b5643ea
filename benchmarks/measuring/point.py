"""One point of the grid: build everybody, check everybody, then time those who agree."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants.protocol import LeftOut
from benchmarks.contestants.pytorch import TorchRunner
from benchmarks.contestants.roster import ROSTER, TORCH
from benchmarks.measuring import agreement, machine
from benchmarks.measuring.peak import PRODUCT_SIZE, REPEATS, jax_peak_gflops
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.results import Row
from benchmarks.measuring.rounds import interleave
from benchmarks.measuring.runners import JaxRunner
from benchmarks.problem import MODES, Problem, flops, reference


class Precision(NamedTuple):
    """- `dtype`: of weights, inputs and states.
    - `products`: what JAX's products on a GPU may round to; None leaves its default, which for float32 is TF32.
    """

    dtype: Any
    products: str | None


PRECISIONS = {
    "float32": Precision(jnp.float32, "float32"),
    "tf32": Precision(jnp.float32, "tensorfloat32"),
    "bfloat16": Precision(jnp.bfloat16, None),
    "float16": Precision(jnp.float16, None),
}


class Options(NamedTuple):
    """- `rounds`, `seconds`: at most, for all contestants and both modes together.
    - `precision`: a name in PRECISIONS.
    - `product_size`: of the matrices whose product gives the peak.
    """

    rounds: int
    seconds: float
    precision: str = "float32"
    product_size: int = PRODUCT_SIZE


def measure_point(problem: Problem, names: list[str], torch_worker: Worker | None, options: Options) -> list[Row]:
    """Rows for every contestant and mode.

    - `torch_worker`: where PyTorch runs; None runs it in this process.
    """
    expected = reference(problem)
    runners, columns = {}, {}
    for name in names:
        runner, columns[name] = _admit(
            lambda name=name: _runner(name, problem, torch_worker, options), expected, options
        )
        if runner is not None:
            runners[name] = runner
    peaks = _peaks(runners.get(TORCH), options)
    rows = []
    for mode in MODES:
        facts = {name: runner.facts(mode) for name, runner in runners.items()}
        times = interleave(runners, mode, rounds=options.rounds, seconds=options.seconds / len(MODES))
        for name in names:
            row = {"date": machine.now(), "cell": problem.cell, **problem.sizes._asdict(), "contestant": name}
            row |= {"package": f"{ROSTER[name].package} {machine.version(ROSTER[name].package)}", "mode": mode}
            row |= {"precision": options.precision, "load": os.getloadavg()[0], **columns[name]}
            if name in runners:
                row |= _timed(flops(problem.cell, problem.sizes, mode), times[name], facts[name], peaks)
            rows.append(row)
    jax.clear_caches()
    return rows


def summary(rows: list[Row]) -> str:
    """One line for whoever watches: the times with gradients, and who has none."""
    rows = [row for row in rows if row["mode"] == "gradients"]
    timed = sorted((row["ms"], row["contestant"]) for row in rows if row["status"] == "timed")
    others = [f"{row['contestant']} {row['status']}" for row in rows if row["status"] != "timed"]
    return ", ".join([f"{name} {ms:.3g} ms" for ms, name in timed] + others)


def _runner(name, problem, torch_worker, options):
    if name == TORCH:
        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        args = (problem, device, options.precision == "tf32")
        return torch_worker.hold(TorchRunner, *args) if torch_worker else TorchRunner(*args)
    contestant = ROSTER[name].build(problem.cell, jax.tree.map(jnp.asarray, problem.weights))
    return JaxRunner(contestant, problem, _products(options))


def _products(options):
    return PRECISIONS[options.precision].products if jax.default_backend() == "gpu" else None


def _admit(make: Callable, expected: dict[str, np.ndarray], options: Options):
    """(the runner or None, its columns): only who agrees with the reference is timed; the others say why not."""
    try:
        runner = make()
        error, leaf = agreement.worst(runner.results(), expected)
    except LeftOut as reason:
        return None, {"status": "left out", "reason": str(reason)}
    except Exception as failure:  # one library's failure ends no sweep: it stands in the table
        return None, {"status": "failed", "reason": f"{type(failure).__name__}: {failure}".splitlines()[0]}
    columns = {"max_error": error, "worst_leaf": leaf, "reason": runner.note}
    if not error <= agreement.TOLERANCES[options.precision]:
        return None, columns | {"status": "disagrees"}
    return runner, columns | {"status": "timed"}


def _peaks(torch_runner, options):
    n, dtype = options.product_size, PRECISIONS[options.precision].dtype
    peaks = {"peak_jax_gflops": jax_peak_gflops(dtype, _products(options), n)}
    if torch_runner is not None:
        peaks["peak_torch_gflops"] = torch_runner.peak_gflops(n, REPEATS)
    return peaks


def _timed(operations, times, facts, peaks):
    gflops = operations / times.ms / 1e6
    return {**times._asdict(), **facts, "gflops": gflops, **peaks, "fraction_of_peak": gflops / max(peaks.values())}
