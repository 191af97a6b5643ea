"""How strictly every test runs: float64 at hand, no silent promotion of dtype or rank, warnings are errors.

Two tiers: `pytest` runs every kind of thing once, `pytest --full` everything.
"""

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the full tier: every row, every option")


def pytest_configure(config):
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "full: of the full tier, which `pytest --full` runs")


NONE, ROWS = (), ("lstm", "bahdanau", "scan", "mlp", "softmax_cross_entropy_classes")
OPTIONS = ("dropout_zoneout_lengths_resets",)
FAST = {
    "app/test_resume.py": NONE,
    "app/test_sample.py": NONE,
    "app/test_translation.py": NONE,
    "benchmarks/test_benchmarks.py": NONE,
    "test_cells.py": ("lstm",),
    "test_forward_mode.py": ("scan",),
    "test_gradients.py": (*ROWS, *OPTIONS),
    "test_layers.py": NONE,
    "test_native_border.py": ("lstm", "backward"),
    "test_initialisation.py": ("lstm", "gru"),
    "test_compare.py": NONE,
    "test_mutants.py": (
        "rnn: W in place of Wᵀ",
        "lstm: i and f swapped",
        "gru: δ for δ′ in ∂W",
        "slstm: dm dropped",
        "dhs one step late",
        "b's gradient dropped",
        "resets: gradients cross them",
        "zoneout: what stayed gets nothing",
    ),
    "test_mutants_feedforward.py": ("mlp: w in place of wᵀ", "mse: the sign of ∂t"),
    "test_notebook.py": NONE,
    "test_oracles_numpy.py": ("lstm",),
    "test_oracles_peers.py": NONE,
    "test_oracles_torch.py": NONE,
    "test_precision.py": ("lstm",),
    "test_readme.py": ("0",),
    "test_regularisation.py": ("lstm", "gru"),
    "test_scan.py": ("lstm",),
    "test_scan_like_lax.py": ("clipped",),
    "test_structure.py": ("lstm",),
    "test_time.py": ("gru",),
    "test_transforms.py": (*ROWS, *OPTIONS),
}
"""Of these files the fast tier takes, of tests with parameters, those with one of the names among them, and of the
others all; of NONE nothing."""


def is_fast(item):
    """Whether the fast tier has it."""
    names = FAST.get(_file_of(item.path, item.config))
    if item.get_closest_marker("full"):
        return False
    if names is None or not hasattr(item, "callspec"):
        return True
    return any(name in item.callspec.id.split("-") for name in names)


@pytest.fixture
def optimised():
    """What is compiled within is compiled as a user's program is."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def row_of(item):
    """The name of the row that a test is about, if it is about one."""
    if hasattr(item, "callspec"):
        for value in (item.callspec.params.get(of) for of in ("row", "name")):
            name = getattr(value, "name", value)
            if isinstance(name, str) and name in ROWS_BY_NAME:
                return name
    return None


def of_fast_tier(items):
    items = [item for item in items if not item.get_closest_marker("full")]
    rows = {}
    for item in items:
        rows.setdefault(item.nodeid.split("[")[0], []).append(row_of(item))
    for item in items:
        every = rows[item.nodeid.split("[")[0]]
        if row_of(item) in {None, *(FAST_ROWS & {*every} or every[:1])}:
            yield item


def pytest_ignore_collect(collection_path, config):
    """Files with nothing for the fast tier are not even imported by it: several bring other libraries in."""
    if not config.getoption("--full") and FAST.get(_file_of(collection_path, config)) == NONE:
        return True
    return None


def _file_of(path, config):
    tests = config.rootpath / "tests"
    return str(path.relative_to(tests)) if path.is_relative_to(tests) else ""


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    fast = list(of_fast_tier(items))
    kept = {id(item) for item in fast}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = fast
