"""How strictly every test runs: float64 at hand, no silent promotion of dtype or rank, warnings are errors.

Two tiers: `pytest` runs every kind of thing once, `pytest --full` everything.
"""

import os
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import jax
import pytest

# Compiling is nearly all that the suite costs, and this is a seventh of it. Where code as users have it is the
# question, tests have `helpers.users_jit`.
COMPILING_FAST = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if metadata.version("jaxlib").startswith("0.10."):  # later ones know no such flag
    COMPILING_FAST.append("--xla_cpu_use_fusion_emitters=false")
# What was compiled once need not be again, by another worker or in another run.
COMPILED = Path(__file__).parent.parent / ".pytest_cache" / "compiled"

os.environ["XLA_FLAGS"] = " ".join([*COMPILING_FAST, os.environ.get("XLA_FLAGS", "")])
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)  # in the environment for the processes that tests start
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
jax.config.update("jax_num_cpu_devices", 4)  # fixed when JAX begins; what names no device runs on the first
jax.config.update("jax_compilation_cache_dir", str(COMPILED))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")

NONE = ()
FAST = {
    "app/test_exchange.py": NONE,
    "app/test_program.py": NONE,
    "app/test_resume.py": NONE,
    "app/test_sample.py": NONE,
    "app/test_sequence_data.py": ("parity",),
    "app/test_sequences.py": ("adding", "reber"),
    "app/test_train_chars.py": ("clockwork",),
    "app/test_translation.py": NONE,
    "benchmarks/test_benchmarks.py": NONE,
    "interop/test_equinox.py": NONE,
    "interop/test_files.py": ("float32", "nested", "params0", "truncated arrays", "overlapping", "an unknown cell"),
    "interop/test_state_dicts.py": ("to_equinox", "one bias"),
    "interop/test_flax.py": NONE,
    "interop/test_haiku.py": NONE,
    "interop/test_keras.py": NONE,
    "interop/test_torch.py": NONE,
    "test_cells.py": ("lstm",),
    "test_compare.py": NONE,
    "test_docs.py": ("README.md", "docs/start.md"),
    "test_forward_mode.py": ("scan",),
    "test_gradients.py": (
        "lstm",
        "bahdanau",
        "scan",
        "mlp",
        "softmax_cross_entropy_classes",
        "dropout_zoneout_lengths_resets",
    ),
    "test_initialisation.py": ("lstm", "gru"),
    "test_layers.py": NONE,
    "test_mutants.py": (
        "rnn: W in place of Wᵀ",
        "gru: δ for δ′ in ∂W",
        "dhs one step late",
        "resets: gradients cross them",
        "zoneout: what stayed gets nothing",
    ),
    "test_mutants_feedforward.py": ("mlp: w in place of wᵀ", "mse: the sign of ∂t"),
    "test_notebook.py": NONE,
    "test_oracles_numpy.py": ("lstm",),
    "test_oracles_peers.py": NONE,
    "test_oracles_torch.py": NONE,
    "test_regularisation.py": ("lstm",),
    "test_seq2seq.py": ("bahdanau",),
    "test_structure.py": ("lstm",),
    "test_time.py": ("gru",),
    "test_transforms.py": ("lstm", "scan"),
}
"""Of these files the fast tier takes, of tests with parameters, those with one of the names among them, and of the
others all; of NONE nothing. Of the files that are not here it takes what is not marked `full`."""


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the full tier: every row, every option")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "full: of the full tier, which `pytest --full` runs")


def pytest_report_header():
    return f"of {find_spec('jbptt').origin}"


def _file_of(path, config):
    tests = config.rootpath / "tests"
    return str(path.relative_to(tests)) if path.is_relative_to(tests) else ""


def pytest_ignore_collect(collection_path, config):
    """Files with nothing for the fast tier are not even imported by it: several bring other libraries in."""
    if not config.getoption("--full") and FAST.get(_file_of(collection_path, config)) == NONE:
        return True
    return None


def is_fast(item):
    """Whether the fast tier has it."""
    if item.get_closest_marker("full"):
        return False
    names = FAST.get(_file_of(item.path, item.config))
    if names is None or not hasattr(item, "callspec"):
        return True
    return any(is_of(item, name) for name in names)


def is_of(item, name):
    """Whether it is a test with a parameter of this name."""
    ids = item.callspec.id.split("-") if hasattr(item, "callspec") else []
    return name.encode("unicode_escape").decode() in ids  # as pytest writes Greek letters


def check_names(config, items):
    """Raises UsageError for a name in the table that selects nothing, of files that are collected whole."""
    if any("::" in argument for argument in config.args):
        return
    of_files = {}
    for item in items:
        of_files.setdefault(_file_of(item.path, config), []).append(item)
    idle = [(f, name) for f in of_files for name in FAST.get(f, ()) if not any(is_of(i, name) for i in of_files[f])]
    if idle:
        raise pytest.UsageError(f"the fast tier's table has names that no test has: {idle}")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    check_names(config, items)
    config.hook.pytest_deselected(items=[item for item in items if not is_fast(item)])
    items[:] = [item for item in items if is_fast(item)]
