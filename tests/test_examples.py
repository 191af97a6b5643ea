"""Every example runs, in a short mode, and does what it says it does."""

import runpy
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import assert_close

import jbptt

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))
NEEDS = {
    "forecasting.py": "safetensors",
    "export.py": "flatbuffers",
    "adapters/nnx_module.py": "flax",
    "adapters/equinox_module.py": "equinox",
    "adapters/haiku_module.py": "haiku",
    "adapters/ppo.py": "flax",
}


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


@pytest.mark.full
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


@pytest.mark.full
def test_a_network_under_dales_law_hears_strong_evidence_best(main_of):
    found = main_of("dales_law.py")(steps=60)
    W, right = found["W"], list(found["right"].values())
    assert right[-1] > 0.9
    assert right == sorted(right), "the better, the stronger"
    assert (W[:80] >= 0).all()
    assert (W[80:] <= 0).all()
    assert np.ptp(found["start"]) > 0.01, "the initial state is trained"


def test_a_character_model_learns_and_writes(main_of):
    result = main_of("characters.py")(steps=20)
    assert result["bits"] < 0.75 * np.log2(result["characters"])
    assert len(result["written"]) > 0


def test_a_sweep_trains_every_pair(main_of):
    errors = main_of("sweep.py")(steps=60)
    assert errors.shape == (5, 4)
    assert len(np.unique(errors)) == errors.size
    assert errors.mean(axis=1).min() < 1 / 6 < errors.mean(axis=1).max()


@pytest.mark.full
def test_mixed_precision_learns_as_float32_does(main_of):
    found = main_of("mixed_precision.py")(steps=30)
    full, mixed = found["float32"], found["bfloat16"]
    assert full["dtypes"] == mixed["dtypes"] == {"float32"}
    assert full["losses"][-1] < 0.9 * full["losses"][0]
    np.testing.assert_allclose(mixed["losses"], full["losses"], rtol=0.02)
    assert 0 < found["error"] < 0.03
    assert mixed["MiB"] < 0.65 * full["MiB"]


def test_exported_programs_give_the_same_numbers(main_of, tmp_path):
    differences = main_of("export.py")(folder=str(tmp_path / "exported"))
    assert all(largest < 1e-5 for largest in differences.values())


MODULES = [name for name in NEEDS if name.endswith("_module.py")]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_gradients_of_the_plain_call_and_trains(name, main_of):
    found = main_of(name)(steps=20)
    assert found["difference"] < 1e-6
    assert found["costs"][-1] < 0.5 * found["costs"][0]


def recurrent_calls(name, module):
    """(module(xs, **options), its steps over xs, its parameters) of an example's module of 4 inputs and 6 units."""
    key = jax.random.key(0)
    if "haiku" in name:
        import haiku as hk

        def through(method):
            return hk.transform(lambda *args, **options: getattr(module(jbptt.lstm, 6), method)(*args, **options))

        params = through("__call__").init(key, XS)
        call, step = [partial(through(method).apply, params, None) for method in ("__call__", "step")]
        return call, step, params["recurrent"]
    if "nnx" in name:
        from flax import nnx

        made = module(jbptt.lstm, 4, 6, rngs=nnx.Rngs(0))
        return made, made.step, made.arrays()
    made = module(jbptt.lstm, 4, 6, key=key)
    return made, made.step, made.params


XS = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_hands_options_on_and_steps(name, main_of):
    call, step, params = recurrent_calls(name, script(name)["Recurrent"])
    options = {"recurrent_dropout": 0.5, "key": jax.random.key(1), "lengths": np.array([5, 2, 3])}
    assert_close(call(XS, **options), jbptt.unroll(jbptt.lstm, params, XS, **options), tolerance=1e-6)
    state, hs = jbptt.lstm.initial_state(params, (3,)), []
    for x in XS:
        state, h = step(state, x)
        hs.append(h)
    assert_close((state, np.stack(hs)), jbptt.unroll(jbptt.lstm, params, XS), tolerance=1e-6)


@pytest.mark.full
def test_ppo_learns_alike_with_linens_scan_and_with_the_engine(main_of):
    found = main_of("adapters/ppo.py")(updates=20)
    assert found["difference"] < 1e-5
    for rewards in (found["ScannedGRU"], found["HandDerivedGRU"]):
        assert abs(rewards[0]) < 0.3
        assert min(rewards[-3:]) > 0.9
