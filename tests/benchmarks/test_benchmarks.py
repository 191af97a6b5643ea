"""Every benchmark runs, at tiny sizes; nothing here asserts a time. The peers that are not installed are skipped."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("click", reason="the benchmarks' command lines need the extra 'benchmarks'")

from click.testing import CliRunner

import jbptt
from benchmarks import (
    breakdown,
    data_parallel,
    gpu,
    layers,
    peers,
    plots,
    report,
    scaling,
    small_calls,
    thread_pools,
    training,
    without_kernels,
)
from benchmarks.contestants import plain
from benchmarks.contestants.protocol import LeftOut
from benchmarks.contestants.pytorch import TorchRunner
from benchmarks.contestants.roster import OURS, ROSTER, TORCH
from benchmarks.measuring import agreement, point, results
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.rounds import FEWEST_ROUNDS, interleave
from benchmarks.measuring.runners import JaxRunner
from benchmarks.problem import CELLS, GATES, Sizes, flops, random_problem, reference
from benchmarks.steps.problem import dates_problem, random_problem as random_problem_of_chars
from benchmarks.steps.roster import AUTO, FLAX, OURS as OURS_TRAINS, TRAINERS
from benchmarks.steps.until import times_to

SIZES = Sizes(T=5, B=2, I=3, H=4)
needs_kernels = pytest.mark.skipif(not jbptt.backends()["cpu"].available, reason="no kernels")


def runner_of(name, problem):
    if name == TORCH:
        return TorchRunner(problem)
    return JaxRunner(ROSTER[name].build(problem.cell, jax.tree.map(jnp.asarray, problem.weights)), problem)


def command(script, *arguments, **defaults):
    words = [str(argument) for argument in arguments]
    outcome = CliRunner().invoke(script.main, words, catch_exceptions=False, default_map=defaults)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ROSTER)
def test_agrees_with_float64_in_every_output_and_gradient(name, cell):
    problem = random_problem(cell, SIZES)
    try:
        runner = runner_of(name, problem)
    except LeftOut as reason:
        pytest.skip(f"{name}, {cell}: {reason}")
    error, leaf = agreement.worst(runner.results(), reference(problem))
    assert error <= agreement.TOLERANCES["float32"], f"{leaf} is off by {error}"


def test_a_contestant_that_disagrees_is_reported_and_not_timed(monkeypatch):
    def wrong(cell, weights):
        contestant = plain.build(cell, weights)
        return contestant._replace(canonical=lambda dparams: dparams | {"b": 1.01 * dparams["b"]})

    monkeypatch.setitem(ROSTER, "plain scan", ROSTER["plain scan"]._replace(build=wrong))
    rows = point.measure_point(
        random_problem("gru", SIZES), [OURS, "plain scan"], None, point.Options(1, 0, product_size=8)
    )
    by_name = {row["contestant"]: row for row in rows}
    assert by_name["plain scan"]["status"] == "disagrees"
    assert by_name["plain scan"]["worst_leaf"] == "db"
    assert "ms" not in by_name["plain scan"]
    assert by_name[OURS]["status"] == "timed"


def test_a_contestant_that_fails_ends_no_sweep(monkeypatch):
    def broken(cell, weights):
        raise ZeroDivisionError("broken")

    monkeypatch.setitem(ROSTER, "plain scan", ROSTER["plain scan"]._replace(build=broken))
    rows = point.measure_point(random_problem("rnn", SIZES), ["plain scan"], None, point.Options(1, 0, product_size=8))
    assert {row["status"] for row in rows} == {"failed"}
    assert rows[0]["reason"] == "ZeroDivisionError: broken"


@pytest.mark.parametrize("cell", CELLS)
def test_flops_are_those_of_the_products(cell):
    assert flops(cell, SIZES, "forward") == 2 * 5 * 2 * (3 + 4) * GATES[cell] * 4
    assert flops(cell, SIZES, "gradients") == 3 * flops(cell, SIZES, "forward")


def test_rounds_are_bounded_by_number_and_time():
    runner = runner_of("plain scan", random_problem("rnn", SIZES))
    times = interleave({"a": runner, "b": runner}, "forward", rounds=5, seconds=60)
    assert {time.rounds for time in times.values()} == {5}
    assert all(time.q1 <= time.ms <= time.q3 for time in times.values())
    assert interleave({"a": runner}, "forward", rounds=5, seconds=0)["a"].rounds == FEWEST_ROUNDS


def test_a_worker_hands_its_errors_back():
    problem = random_problem("rnn", SIZES)
    with Worker() as worker:
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            worker.hold(divmod, 1, 0)
        if importlib.util.find_spec("torch") is None:
            with pytest.raises(LeftOut, match="not installed"):
                worker.hold(TorchRunner, problem)
            return
        found = worker.hold(TorchRunner, problem).results()
    here = TorchRunner(problem).results()
    assert set(found) == set(here)
    for leaf, array in found.items():
        np.testing.assert_allclose(array, here[leaf], rtol=1e-5, atol=1e-6)


def test_peers_report_plots_and_resume(tmp_path):
    path = tmp_path / "peers.csv"
    arguments = ["--quick", "--cells", "rnn", "--contestants", "jbptt manual,jbptt auto,plain scan,equinox"]
    arguments += ["--torch-process", "same", "--out", path]
    command(peers, *arguments)
    rows = results.read(path)
    assert len(rows) == 8  # 4 contestants, 2 modes
    assert {row["reason"] for row in rows if row["contestant"] == "equinox"} != {""}

    command(peers, *arguments, "--resume")
    assert results.read(path) == rows
    assert CliRunner().invoke(peers.main, [str(a) for a in arguments]).exit_code == 1, "an existing file is kept"

    text = command(report, path)
    assert "| rnn | 16x4x8x16 |" in text
    assert "geometric mean" in text
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    command(plots, path)
    assert {png.name for png in tmp_path.glob("*.png")} == {"peers-forward.png", "peers-gradients.png"}


def test_scaling(tmp_path):
    path = tmp_path / "scaling.csv"
    command(scaling, "--quick", "--cells", "rnn", "--sweeps", "T", "--out", path)
    rows = results.read(path)
    sizes = {row["program_instructions"] for row in rows if (row["contestant"], row["mode"]) == (OURS, "gradients")}
    assert len(rows) == 8
    assert max(map(int, sizes)) < 1.1 * min(map(int, sizes)), "the program does not grow with T"
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert "scaling-T-rnn.png" in command(plots, path)


def test_thread_pools(tmp_path):
    pytest.importorskip("torch", reason="it compares XLA's threads with PyTorch's")
    command(thread_pools, "--quick", "--cells", "rnn", "--out", tmp_path / "pools.csv")
    assert len(results.read(tmp_path / "pools.csv")) == 10


def test_breakdown(tmp_path):
    text = command(breakdown, "--quick", "--out", tmp_path / "breakdown.csv")
    assert "| 8x2x3x4 | reverse scan |" in text


def test_data_parallel(tmp_path):
    text = command(data_parallel, "--quick", "--cells", "gru", "--out", tmp_path / "parallel.csv")
    assert "| gru | 16x4x8x16 | gradients |" in text


def test_the_gpu_script_runs_to_its_end_without_a_gpu(tmp_path):
    path = tmp_path / "gpu.csv"
    arguments = ["--quick", "--contestants", "jbptt manual,plain scan", "--sizes", "4x2x3x4", "--out", path]
    text = command(gpu, *arguments)
    assert path.with_suffix(".md").exists()
    assert jax.default_backend() == "gpu" or "no GPU" in text


@needs_kernels
def test_layers_at_once_and_in_turn(tmp_path):
    output = command(layers, "--quick", "--cells", "lstm", "--out", tmp_path / "layers.csv")
    rows = results.read(tmp_path / "layers.csv")
    assert [(row["layers"], row["mode"]) for row in rows] == [
        (name, mode) for name in layers.LAYERS for mode in ("forward", "gradients")
    ]
    assert output.count("| lstm | 100x1x8x64 |") == len(layers.LAYERS)


@needs_kernels
def test_small_calls(tmp_path):
    command(small_calls, "--quick", "--cells", "rnn", "--out", tmp_path / "small.csv")
    (row,) = results.read(tmp_path / "small.csv")
    assert all(float(row[f"{name} ratio"]) > 0 for name in ("forward", "gradients", "forward in a loop"))


def test_training_steps_have_the_same_losses(tmp_path):
    """Both PyTorch models and both numbers of threads, and not each with each: each is a process that imports it."""
    names = [OURS_TRAINS, AUTO, FLAX, "torch 1 thread", "torch embedding all threads"]
    path = tmp_path / "steps.csv"
    arguments = ["--quick", "--contestants", ",".join(names), "--until", 4.4, "--out", path]
    output = command(training, *arguments)
    rows = results.read(path)
    assert [(row["model"], row["contestant"]) for row in rows] == [
        (model, name) for model in ("chars", "dates") for name in names
    ]
    assert {row["status"] for row in rows} <= {"timed", "left out"}
    assert len(output.splitlines()) == 4 + 3 + len(names) + 2

    reached = results.read(tmp_path / "steps-until.csv")
    assert [row["contestant"] for row in reached] == names
    same = [row for row in reached[:4] if row["status"] != "left out"]
    assert {row["status"] for row in same} == {"timed"}
    assert len({row["steps"] for row in same}) == 1, "the same weights, and the same batches"
    assert np.ptp([float(row["nats"]) for row in same]) < 1e-3


@pytest.mark.parametrize("attention", ["bahdanau", "none"])
def test_the_dates_models_of_pytorch_have_our_losses(attention):
    """Of the two that a run trains side by side the benchmark compares the first's."""
    pytest.importorskip("torch", reason="it compares PyTorch's")
    problem = dates_problem(attention=attention, baseline=False, hidden=8, batch=4)
    expected = TRAINERS[OURS_TRAINS].dates(problem).losses(5)
    with Worker() as worker:
        found = worker.hold(TRAINERS["torch 1 thread"].dates, problem).losses(5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(set(expected)) == 5, "it learns"


def test_a_level_that_nobody_comes_to_ends_after_the_most_steps():
    problem, validation = random_problem_of_chars(training.QUICK[0]), np.arange(40, dtype=np.int32) % 5
    runners = {OURS_TRAINS: TRAINERS[OURS_TRAINS].chars(problem)}
    found = times_to(0.0, runners, problem, validation, every=2, most=4)[OURS_TRAINS]
    assert (found["status"], found["steps"]) == ("not reached", 4)


def test_a_step_with_other_losses_is_not_timed(monkeypatch):
    monkeypatch.setattr(training, "TOLERANCE", 0)
    (row,) = training.measure(random_problem_of_chars(training.QUICK[0]), [FLAX], {}, 1, 0, 8)
    assert row["status"] in ("disagrees", "left out") and "ms" not in row


@needs_kernels
def test_what_cells_without_kernels_could_gain(tmp_path):
    cells = "gru,mgu,lstm_heads"
    command(without_kernels, "--quick", "--cells", cells, "--out", tmp_path / "cells.csv")
    rows = results.read(tmp_path / "cells.csv")
    assert [(row["cell"], row["like"]) for row in rows] == [("gru", "gru"), ("mgu", "gru"), ("lstm_heads", "lstm")]
    assert all(float(row["gradients ratio"]) > 0 for row in rows)
