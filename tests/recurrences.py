"""A recurrence over random arrays, for tests of backends: values, every gradient, and how far from float64 they are."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TOLERANCE, floats, to_numpy

import jbptt
from jbptt.comparison.pair import random_cotangents, value_and_gradients
from jbptt.comparison.rows import Draws, Sizes

OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": True},
    "lengths in reverse": {"lengths": True, "reverse": True},
    "resets": {"resets": True},
    "resets in reverse to a state": {"resets": True, "reverse": True, "reset_state": True},
    "everything": {"lengths": True, "resets": True, "reset_state": True},
    "mask": {"mask": True},
    "mask and everything": {"mask": True, "resets": True, "reset_state": True, "reverse": True, "checkpoint": 2},
    "checkpoint": {"checkpoint": 3},
    "checkpoint and everything": {"checkpoint": 2, "lengths": True, "resets": True, "reverse": True},
    "truncate": {"truncate": 2},
    "truncate and everything": {"truncate": 2, "lengths": True, "resets": True, "reset_state": True, "reverse": True},
    "recurrent dropout": {"recurrent_dropout": 0.5, "key": jax.random.key(3)},
    "recurrent dropout and everything": {
        **{"recurrent_dropout": 0.5, "key": jax.random.key(3), "truncate": 3, "mask": True, "resets": True},
        **{"reset_state": True, "checkpoint": 4},
    },
    "indices": {"indices": True},
    "indices and everything": {
        **{"indices": True, "lengths": True, "resets": True, "reset_state": True, "reverse": True, "checkpoint": 2},
    },
    "zoneout": {"zoneout": 0.3, "key": jax.random.key(3)},
    "the mean of zoneout": {"zoneout": 0.3, "reverse": True},
    "zoneout and everything": {
        **{"zoneout": 0.3, "recurrent_dropout": 0.5, "key": jax.random.key(3), "lengths": True, "resets": True},
        **{"reset_state": True, "truncate": 3, "checkpoint": 4},
    },
}


class Problem:
    """A cell over random arrays, with random cotangents on all outputs."""

    def __init__(self, cell, T, batch, I, H, options=(), seed=0):
        draw = np.random.default_rng(seed)
        self.cell, self.options, self.seed = cell, dict(options), seed
        of_cell = Draws(seed, jnp.float64).of_cell(cell, Sizes(T, math.prod(batch), I, H), batch)
        params, xs, state = to_numpy(of_cell)
        reset_state = None
        if self.options.pop("reset_state", False):
            reset_state = jax.tree.map(lambda leaf: leaf[::-1] - 1, state)
        if self.options.pop("indices", False):
            xs = draw.integers(-1, I + 1, (T, *batch)).astype(np.int32)  # some are nobody's
        if self.options.pop("lengths", False):
            self.options["lengths"] = draw.integers(0, T + 1, batch)
        if self.options.pop("resets", False):
            self.options["resets"] = draw.random((T, *batch)) < 0.3
        if self.options.pop("mask", False):
            self.options["mask"] = draw.random((T, *batch)) < 0.6
        self.args = params, xs, state, reset_state

    def arrays(self, dtype):
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf, dtype if np.issubdtype(leaf.dtype, np.floating) else None), self.args
        )

    def forward(self, params, xs, state, reset_state, **how):
        more = {} if reset_state is None else {"reset_state": reset_state}
        return jbptt.unroll(self.cell, params, xs, state, **self.options, **more, **how)

    def outputs_and_gradients(self, dtype, **how):
        """Values, and the gradients of every argument."""
        function, args = partial(self.forward, **how), self.arrays(dtype)
        cotangents = random_cotangents(function, args, self.seed + 1)
        return floats(jax.jit(value_and_gradients(function))(args, cotangents))


def errors(got, expected):
    """Of each leaf, relative to its largest entry."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    return [
        np.max(np.abs(np.asarray(g, np.float64) - e), initial=0) / max(np.max(np.abs(e), initial=0), 1e-3)
        for g, e in pairs
    ]


def dtype_of(backend, problem, dtypes=(jnp.float64, jnp.float32)):
    """The first of these that the backend runs it in; else the test is skipped with the backend's reason."""
    for dtype in dtypes:
        try:
            jax.eval_shape(lambda: problem.forward(*problem.arrays(dtype), backend=backend))  # noqa: B023
            return dtype
        except ValueError as error:
            reason = str(error)
            if "cannot run this" not in reason:
                raise
    pytest.skip(reason)


def assert_bfloat16_is_near(backend, problem):
    """Within bfloat16's tolerance of float64, and of the dtype of the arguments."""
    got = problem.outputs_and_gradients(jnp.bfloat16, backend=backend)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}
    ours = errors(got, problem.outputs_and_gradients(jnp.float64, vjp="auto"))
    assert max(ours) <= TOLERANCE["bfloat16"], ours


def assert_as_good_as_the_scan(backend, problem):
    """In float64, the plain scan to the last digits. In float32 within twice what the scan does, or ten roundings."""
    dtype = dtype_of(backend, problem)
    expected = problem.outputs_and_gradients(jnp.float64, vjp="auto")
    ours = errors(problem.outputs_and_gradients(dtype, backend=backend), expected)
    if dtype == jnp.float64:
        assert max(ours) <= TOLERANCE["float64"]
        return
    scan = errors(problem.outputs_and_gradients(dtype, backend="scan"), expected)
    assert max(ours) <= max(2 * max(scan), 10 * np.finfo(np.float32).eps), (ours, scan)
