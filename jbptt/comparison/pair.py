"""Two functions that should have the same gradients: how far they are apart, and what each costs."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt import checks


class Measured(NamedTuple):
    """What the value and every gradient of a function cost, compiled.

    - `ms`, `ms_quartiles`: milliseconds a call, the median of the rounds and their quartiles.
    - `compile_s`: seconds to trace and compile.
    - `temp_bytes`: temporary memory of the compiled program, the residuals among it.
    """

    ms: float
    ms_quartiles: tuple[float, float]
    compile_s: float
    temp_bytes: int


class Report(NamedTuple):
    """What `compare` found.

    - `errors`: for every output and every gradient leaf, max |manual − auto| / max |auto|, in float64.
    - `manual`, `auto`: their costs in the arguments' own dtype.
    """

    errors: dict[str, float]
    manual: Measured
    auto: Measured

    @property
    def max_error(self) -> float:
        """The largest of `errors`; inf where a value or a gradient is not finite."""
        return float(np.max(list(self.errors.values())))

    @property
    def speedup(self) -> float:
        """Median time of auto over that of manual: above 1, manual is the faster."""
        return self.auto.ms / self.manual.ms

    def __str__(self) -> str:
        lines = [f"{'max |manual − auto| / max |auto| (float64)':<46}"]
        lines += [f"  {leaf:<44}{error:.1e}" for leaf, error in self.errors.items()]
        lines.append(f"{'':<24}{'manual':>12}{'auto':>12}{'auto/manual':>14}")
        for label, field in (("time, ms", "ms"), ("compile, s", "compile_s"), ("temporary bytes", "temp_bytes")):
            manual, auto = (float(getattr(cost, field)) for cost in (self.manual, self.auto))
            ratio = f"{auto / manual:.2f}x" if manual else "-"
            lines.append(f"{label:<24}{manual:>12,.2f}{auto:>12,.2f}{ratio:>14}")
        return "\n".join(lines)


def compare(manual_fn: Callable, auto_fn: Callable, *args: Any, rounds: int = 20) -> Report:
    """Compares the values, gradients, time and memory of two functions of the same arguments.

    - `manual_fn`, `auto_fn`: functions of `*args` to any pytree of arrays.
    - `args`: pytrees of arrays. Gradients are taken for every floating point leaf of every one of them. Pass all
      arrays here: errors are measured with these cast to float64, and an array that is closed over is not.
    - `rounds`: how many timed calls of each, interleaved.

    Gradients are vector-Jacobian products with random cotangents on all outputs at once: a plain sum hides
    bugs that these show. Errors are measured in float64, whatever the arguments' dtype.

    Returns a `Report`. Raises ValueError if the outputs differ in structure or shape, TypeError if in dtype.
    """
    checks.size("rounds", rounds)
    return Report(gradient_errors(manual_fn, auto_fn, *args), *costs(manual_fn, auto_fn, args, rounds))


def gradient_errors(manual_fn: Callable, auto_fn: Callable, *args: Any, seed: int = 0) -> dict[str, float]:
    """The errors of `compare` alone: {"output..." or "gradient..." leaf: max |manual − auto| / max |auto|}, in float64.

    Where auto is zero all over, the error is max |manual|. Where either is not finite, it is inf.
    """
    with jax.enable_x64(True):
        args = jax.tree.map(_to_float64, args)
        try:
            outputs = [jax.eval_shape(fn, *args) for fn in (manual_fn, auto_fn)]
        except TypeError as error:
            error.add_note("compare calls both with float64 arguments: pass arrays as arguments, close over none")
            raise
        checks.like("the output of manual_fn", *outputs)
        cotangents = random_cotangents(auto_fn, args, seed)
        manual, auto = (jax.jit(value_and_gradients(fn))(args, cotangents) for fn in (manual_fn, auto_fn))
        return leaf_errors(manual, auto)


def value_and_gradients(fn: Callable) -> Callable[[tuple, Any], dict[str, Any]]:
    """(args, cotangents) -> {"output": fn(*args), "gradient": one pytree an argument, None for integers}."""

    def both(args, cotangents):
        output, vjp = jax.vjp(fn, *args)
        gradient = jax.tree.map(lambda g: None if g.dtype == jax.dtypes.float0 else g, vjp(cotangents))
        return {"output": output, "gradient": gradient}

    return both


def random_cotangents(fn: Callable, args: tuple, seed: int = 0) -> Any:
    """A standard normal cotangent for every output of `fn(*args)`; float0 for integers."""
    rng = np.random.default_rng(seed)

    def draw(output):
        if not jnp.issubdtype(output.dtype, jnp.floating):
            return np.zeros(output.shape, jax.dtypes.float0)
        return jnp.asarray(rng.standard_normal(output.shape), output.dtype)

    return jax.tree.map(draw, jax.eval_shape(fn, *args))


def leaf_errors(got: Any, expected: Any) -> dict[str, float]:
    """{path: max |got − expected| / max |expected|} for every leaf of two pytrees.

    Raises ValueError if their structures or shapes differ.
    """
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise ValueError(f"structures differ: {jax.tree.structure(got)} and {jax.tree.structure(expected)}")
    errors = {}
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True)
    for (path, want), have in pairs:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if want.shape != have.shape:
            raise ValueError(f"shapes differ at {name}: {list(have.shape)} and {list(want.shape)}")
        errors[name] = _relative_error(np.asarray(have, np.float64), np.asarray(want, np.float64))
    return errors


def _relative_error(got, expected):
    if got.size == 0:
        return 0.0
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return np.inf
    scale = np.abs(expected).max()
    return float(np.abs(got - expected).max() / (scale if scale > 0 else 1.0))


def _to_float64(leaf):
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def costs(manual_fn: Callable, auto_fn: Callable, args: tuple, rounds: int) -> list[Measured]:
    """What the value and every gradient of each of two functions cost, in the arguments' own dtype, in turns."""
    args = jax.tree.map(jnp.asarray, args)
    cotangents = random_cotangents(auto_fn, args)
    programs, compile_s = [], []
    for fn in (manual_fn, auto_fn):
        start = time.perf_counter()
        programs.append(jax.jit(value_and_gradients(fn)).lower(args, cotangents).compile())
        compile_s.append(time.perf_counter() - start)
    ms = _interleaved_ms(programs, (args, cotangents), rounds)
    return [
        Measured(
            ms=float(np.median(times)),
            ms_quartiles=(float(np.quantile(times, 0.25)), float(np.quantile(times, 0.75))),
            compile_s=seconds,
            temp_bytes=program.memory_analysis().temp_size_in_bytes,
        )
        for program, seconds, times in zip(programs, compile_s, ms, strict=True)
    ]


def _interleaved_ms(programs, args, rounds):
    """Milliseconds of every call: [program][round]. The contestants take turns, so that noise falls on all alike."""
    ms = [[] for _ in programs]
    for program in programs:
        jax.block_until_ready(program(*args))
    for _ in range(rounds):
        for program, times in zip(programs, ms, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            times.append((time.perf_counter() - start) * 1e3)
    return ms
