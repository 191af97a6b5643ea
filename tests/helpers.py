"""What every gradient test shares: the sizes, the tolerances, and one way to compare two gradients."""

import os
from functools import partial
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jbptt.cells.table import CELLS
from jbptt.comparison.pair import leaf_errors, random_cotangents, value_and_gradients
from jbptt.comparison.rows import ROWS, Sizes

SIZES = Sizes(T=5, B=3, I=4, H=8, O=7)
"""No two alike, so that no two axes can be mistaken for each other; small, so that compiling is all that costs. Cells
of four heads or modules have two units in each."""

LENGTHS = np.array([5, 0, 2])
RESETS = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
"""Of a batch of SIZES."""

TOLERANCE = {"float64": 1e-12, "float32": 4e-6, "bfloat16": 6e-2}
"""Largest error allowed, relative to the leaf's largest entry. float64 is the library's promise. The other two are
rounding alone, measured against float64: every row's worst entry is 3 to 6 units of rounding off (1.2e-7 and 7.8e-3),
which grows with T; about five and three times that is allowed.
"""

ROWS_BY_NAME = {row.name: row for row in ROWS}
KINDS = {
    "clockwork",
    "lstm",
    "lstm_v",
    "lstm_depth_gated",
    "lstm_projected",
    "lstm_layer_norm",
    "slstm",
    "gru",
    "indrnn",
}
ALIKE = {"luong_dot", "luong_concat", "lengths", "resets", "truncate", "checkpoint"}
ALIKE |= {"recurrent_dropout", "zoneout", "zoneout_mean"}
"""What others do too: "luong_general" is a dot product with a query of its own, "bahdanau" has the additive score, and
there are rows of several options at once."""
ROWS_OF_EVERY_KIND = [row for row in ROWS if row.name in KINDS or row.name not in {*CELLS, *ALIKE}]
"""One cell of each kind of parameters, states and δ, and all that is no cell: for tests of edges and transforms."""
CELL_ROWS = [ROWS_BY_NAME[name] for name in CELLS]


OPTIMISED: dict[str, Any] = {"xla_backend_optimization_level": 3}
if "fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
    OPTIMISED["xla_cpu_use_fusion_emitters"] = True
users_jit = partial(jax.jit, compiler_options=OPTIMISED)
"""As users compile, which conftest.py is against: where the mathematics is the question, code need not be fast."""


def full(values, but=()):
    """Parameters of the full tier; those in `but` are in the fast tier too."""
    return [value if value in but else pytest.param(value, marks=pytest.mark.full) for value in values]


def twins(row, sizes=SIZES, dtype=jnp.float64, seed=0):
    """(manual, auto, args) of a row of `jbptt.comparison.rows`."""
    fn, args = row.build(seed, sizes, dtype)
    return partial(fn, vjp="manual"), partial(fn, vjp="auto"), args


def mesh_of(number, axis_type=AxisType.Auto):
    """The first of the CPU's devices, along an axis "batch"."""
    return jax.make_mesh((number,), ("batch",), axis_types=(axis_type,), devices=jax.devices()[:number])


def floats(tree):
    """The floating point leaves."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def cast(tree, dtype):
    """Floating point leaves in another dtype; integers as they are."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def cotangent_patterns(fn, args, seed=1):
    """{name: cotangents of fn(*args)}: random on all outputs; and on one output alone, zero on all others.

    A cost of one output alone shows what others would cover up: a final state's cotangent that is dropped, say.
    """
    cotangents = random_cotangents(fn, args, seed)
    patterns = {"all outputs": cotangents}
    if isinstance(cotangents, tuple) and hasattr(cotangents[0], "_fields"):  # (state, hs) or (state, y)
        state, hs = cotangents
        no_state, no_hs = jax.tree.map(np.zeros_like, (state, hs))  # NumPy's, for an integer's are of float0
        patterns |= {"hs only": (no_state, hs), "final state only": (state, no_hs)}
        if len(state) > 1:
            patterns |= {
                f"final {name} only": (no_state._replace(**{name: value}), no_hs)
                for name, value in state._asdict().items()
                if all(leaf.dtype != jax.dtypes.float0 for leaf in jax.tree.leaves(value))
            }
    return patterns


def assert_close(got, expected, tolerance=TOLERANCE["float64"], note=""):
    """Every leaf within `tolerance` of the expected, relative to that leaf's largest entry."""
    wrong = {leaf: error for leaf, error in leaf_errors(got, expected).items() if not error <= tolerance}
    assert not wrong, f"{note}: errors above {tolerance}: {wrong}"


def assert_gradients_match(manual, auto, args, *, patterns=None, tolerance=TOLERANCE["float64"], jit=jax.jit):
    """Values and the gradients of every argument agree, whichever output the cost is of.

    - `patterns`: {name: cotangents}; by default all of `cotangent_patterns`.
    """
    patterns = cotangent_patterns(auto, args) if patterns is None else patterns
    manual, auto = jit(value_and_gradients(manual)), jit(value_and_gradients(auto))
    for name, cotangents in patterns.items():
        assert_close(manual(args, cotangents), auto(args, cotangents), tolerance, f"cost of {name}")


def assert_caught(mutated, auto, args):
    """A planted bug must not pass the very assertion above."""
    with pytest.raises(AssertionError, match="cost of all outputs: errors above"):
        assert_gradients_match(mutated, auto, args)


def planted(function, **replaced):
    """A copy of `function` that sees other functions under these global names: a bug planted in what it calls, and to
    be passed on as an argument. Nobody else sees it."""
    names = function.__globals__
    assert replaced.keys() <= names.keys(), "a name that it does not look up"
    copy = FunctionType(function.__code__, names | replaced, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def to_numpy(tree):
    """Arrays of NumPy in place of JAX's."""
    return jax.tree.map(np.asarray, tree)
