"""How strictly every test runs: float64 at hand, no silent promotion of dtype or rank, warnings are errors.

Two tiers: `pytest` runs every kind of thing once, `pytest --full` everything.
"""

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the full tier: every row, every option")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("markers", "full: of the full tier, which `pytest --full` runs")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    of_full = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=of_full)
    items[:] = [item for item in items if not item.get_closest_marker("full")]
