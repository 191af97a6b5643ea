"""Every example runs, in a short mode, and does what it says it does."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))
NEEDS = {"export.py": "flatbuffers"}


@pytest.fixture
def main_of(tmp_path, monkeypatch):
    """The main function of an example, as its user would run it: in a folder of its own, with JAX's defaults."""
    monkeypatch.chdir(tmp_path)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield lambda name: script(name)["main"]


def script(name, run_name="an example"):
    pytest.importorskip(NEEDS.get(name, "jax"), reason="pip install -e '.[test,examples]'")
    return runpy.run_path(str(EXAMPLES / name), run_name=run_name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_tells_what_it_shows_and_its_options(name, main_of, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        script(name, "__main__")
    assert f"python examples/{name}" in capsys.readouterr().out


def test_the_table_has_every_example():
    table = (EXAMPLES / "README.md").read_text()
    assert all(f"]({name})" in table for name in SCRIPTS)


def test_forecasts_stop_early_and_are_loaded_as_the_best_were_saved(main_of):
    losses = main_of("forecasting.py")(series=128, epochs=100, patience=2)
    first, *_, best, _, _ = losses["validations"]
    assert len(losses["validations"]) < 100, "stopped early"
    assert best == min(losses["validations"]) < 0.8 * first
    assert losses["loaded"] == best
    assert losses["test"] < 0.8 * first


def test_reinforcement_learning_remembers_the_cue(main_of):
    rewards = main_of("reinforce.py")(updates=40)
    assert abs(rewards[0]) < 0.2
    assert min(rewards[-5:]) > 0.9


def test_a_network_under_dales_law_hears_strong_evidence_best(main_of):
    found = main_of("dales_law.py")(steps=60)
    W, right = found["W"], list(found["right"].values())
    assert right[-1] > 0.9
    assert right == sorted(right), "the better, the stronger"
    assert (W[:80] >= 0).all()
    assert (W[80:] <= 0).all()
    assert np.ptp(found["start"]) > 0.01, "the initial state is trained"


def test_a_character_model_learns_and_writes(main_of):
    result = main_of("characters.py")(steps=40)
    assert result["bits"] < 0.75 * np.log2(result["characters"])
    assert len(result["written"]) > 0


def test_a_sweep_trains_every_pair(main_of):
    errors = main_of("sweep.py")(steps=60)
    assert errors.shape == (5, 4)
    assert len(np.unique(errors)) == errors.size
    assert errors.mean(axis=1).min() < 1 / 6 < errors.mean(axis=1).max()


def test_mixed_precision_learns_as_float32_does(main_of):
    found = main_of("mixed_precision.py")(steps=40)
    full, mixed = found["float32"], found["bfloat16"]
    assert full["dtypes"] == mixed["dtypes"] == {"float32"}
    assert full["losses"][-1] < 0.8 * full["losses"][0]
    np.testing.assert_allclose(mixed["losses"], full["losses"], rtol=0.02)
    assert 0 < found["error"] < 0.03
    assert mixed["MiB"] < 0.65 * full["MiB"]


def test_exported_programs_give_the_same_numbers(main_of, tmp_path):
    differences = main_of("export.py")(folder=str(tmp_path / "exported"))
    assert all(largest < 1e-5 for largest in differences.values())
