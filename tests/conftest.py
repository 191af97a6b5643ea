"""How strictly every test runs: float64 at hand, no silent promotion of dtype or rank, warnings are errors."""

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
