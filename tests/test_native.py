"""What is the C++ kernels' own: their library, their instruction sets, when they are taken and what they cannot run."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import full, planted
from recurrences import OPTIONS, Problem, assert_as_good_as_the_scan

import jbptt
from jbptt.backends.choosing import choose
from jbptt.backends.cpu import backend, library
from jbptt.backends.cpu.backend import CPU
from jbptt.backends.cpu.calls import Call
from jbptt.backends.cpu.library import loaded
from jbptt.backends.cpu.sources import INSTRUCTION_SETS, sources_digest
from jbptt.backends.cpu.table import kernels
from jbptt.cells.rule import Consts
from jbptt.recurrence.inputs import Inputs, Spec

KERNELS = loaded()
needs_kernels = pytest.mark.skipif(isinstance(KERNELS, str), reason=f"no kernels: {KERNELS}")
NATIVE = Path(__file__).parent / "native"
KEY = jax.random.key(0)


@pytest.mark.full
@needs_kernels
@pytest.mark.parametrize(("T", "B", "I", "H"), [(3, 3, 40, 1024), (300, 8, 3, 16)])
def test_long_sums_are_as_accurate(T, B, I, H):
    """A δ of 4,096 terms, and a weight's gradient of 2,400."""
    assert_as_good_as_the_scan("cpu", Problem(jbptt.lstm, T, (B,), I, H))


PARTED = [
    *[("lstm", "zoneout and everything"), ("rnn", "recurrent dropout and everything")],
    *[("lstm", "plain"), ("V", "indices and everything"), ("gru", "mask and everything")],
]


@needs_kernels
@pytest.mark.parametrize("case", full(PARTED, but=PARTED[:2]), ids=" ".join)
def test_one_sequence_whose_units_are_parted(case):
    """Of enough units that two threads meet at every step."""
    name, options = case
    cell = jbptt.LSTM_VARIANTS.get(name) or getattr(jbptt, name)
    assert_as_good_as_the_scan("cpu", Problem(cell, 60, (1,), 16, 197, OPTIONS[options]))


def by_library(kernels_of_set):
    """The backend, by another library than the best."""

    def call_of(spec):
        return Call(kernels_of_set, kernels()[spec.rule], spec.reverse)

    return CPU._replace(
        forward=planted(CPU.forward, call_of=call_of),
        forward_residuals=planted(CPU.forward_residuals, call_of=call_of),
        backward=planted(CPU.backward, _backward=planted(backend._backward, call_of=call_of)),
    )


@needs_kernels
@pytest.mark.parametrize("cell", full(["V", "gru", "rnn"], but=["V"]))
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set(cell, instruction_set):
    of_set = loaded(instruction_set)
    if isinstance(of_set, str):
        pytest.skip(of_set)
    cell = jbptt.LSTM_VARIANTS.get(cell) or getattr(jbptt, cell)
    assert_as_good_as_the_scan(by_library(of_set), Problem(cell, 6, (7,), 5, 37, OPTIONS["everything"]))


def cost(params, xs, cell=jbptt.lstm, backend=None):
    state, hs = jbptt.unroll(cell, params, xs, backend=backend)
    return jnp.sum(jnp.sin(hs)) + jnp.sum(state.h**2)


def arguments(cell, T, B, H=18):
    params = jax.tree.map(jnp.float32, cell.init(KEY, 3, H))
    return params, jax.random.normal(KEY, (T, B, 3), jnp.float32)


@needs_kernels
def test_calls_at_once_give_what_each_gives_alone():
    """A hundred from Python's threads: XLA's few threads are claimed by all of them."""
    args = arguments(jbptt.lstm, 7, 2)
    gradient = jax.jit(jax.grad(partial(cost, backend="cpu")))
    alone = gradient(*args)
    with ThreadPoolExecutor(100) as pool:
        together = list(pool.map(lambda _: gradient(*args), range(100)))
    for each in together:
        jax.tree.map(np.testing.assert_array_equal, each, alone)


MORE_THREADS = """
import jax, jax.numpy as jnp, numpy as np, jbptt
params, xs = jbptt.lstm.init(jax.random.key(0), 64, 64), jax.random.normal(jax.random.key(1), (64, 8, 64))
def cost(params, xs, backend):
    return jnp.sum(jnp.sin(jbptt.unroll(jbptt.lstm, params, xs, backend=backend)[1]))
by_kernel, by_scan = (jax.jit(jax.grad(cost, (0, 1)), static_argnums=2)(params, xs, b) for b in ("cpu", "scan"))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-4), by_kernel, by_scan)
"""


@needs_kernels
def test_a_pool_of_more_threads_than_there_is_scratch_for():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=32"}
    done = subprocess.run([sys.executable, "-c", MORE_THREADS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def calls(program):
    """Of kernels, in a compiled program, and the sizes of the arrays that they give."""
    found = re.findall(r"= \((.*?)\) custom-call\(.*custom_call_target=\"jbptt_(\w+?)_", program.as_text())
    return {direction: re.findall(r"f32\[([\d,]*)\]", results) for results, direction in found}


@needs_kernels
def test_forward_and_back_are_a_call_each_and_only_what_is_wanted_is_made():
    """Nobody asks for ∂C/∂xs, [259, 2, 3], in the first; nor for those of the parameters in the second."""
    args = arguments(jbptt.gru, 259, 2)
    of_params, of_xs = (jax.jit(jax.grad(partial(cost, cell=jbptt.gru), n)).lower(*args).compile() for n in (0, 1))
    for program in (of_params, of_xs):
        assert "while" not in program.as_text()
        assert calls(program).keys() == {"forward", "backward"}
    dU, dxs = "3,54", "259,2,3"
    assert dU in calls(of_params)["backward"] and dxs not in calls(of_params)["backward"]
    assert dU not in calls(of_xs)["backward"] and dxs in calls(of_xs)["backward"]


@needs_kernels
@pytest.mark.parametrize(
    ("T", "B", "H", "chosen"),
    [(2, 8, 16, "cpu"), (1, 64, 16, "scan"), (5, 3, 16, "scan"), (4, 40, 900, "cpu"), (100, 1, 900, "scan")],
)
def test_the_kernel_is_taken_where_it_is_faster(T, B, H, chosen):
    params, xs = arguments(jbptt.lstm, T, B, H)
    inputs = Inputs(Consts(params), jbptt.lstm.initial_state(params, (B,)), xs)
    assert choose(Spec(jbptt.lstm.rule), inputs, None).name == chosen


OTHER = jbptt.lstm.rule._replace(step_vjp=jbptt.gru.rule.step_vjp)
WRAPPED = jbptt.lstm.rule._replace(step=lambda *args: jbptt.lstm.rule.step(*args))
CANNOT = {
    "float64": (r"cpu: the kernels are for float32.*scan: it can", {}, jnp.float64),
    "auto": (r"vjp='manual'", {"vjp": "auto"}, jnp.float32),
    "noise": (r"the kernels have no noise", {"noise": 0.1, "key": KEY}, jnp.float32),
    "another cell": (r"no kernel for this cell", {"cell": jbptt.lstm_cell(heads=3)}, jnp.float32),
    "a changed way back": (r"no kernel", {"cell": jbptt.lstm._replace(rule=OTHER)}, jnp.float32),
    "a changed cell": (r"no kernel", {"cell": jbptt.lstm._replace(rule=WRAPPED)}, jnp.float32),
}


@needs_kernels
@pytest.mark.parametrize("name", CANNOT)
def test_what_has_no_kernel_is_told_of_and_runs_without(name):
    message, options, dtype = CANNOT[name]
    options = dict(options)
    cell = options.pop("cell", jbptt.lstm)
    params, xs = cell.init(KEY, 3, 18, dtype), jnp.ones((4, 2, 3), dtype)
    with pytest.raises(ValueError, match=message):
        jbptt.unroll(cell, params, xs, **options, backend="native")
    jbptt.unroll(cell, params, xs, **options)


def test_cells_that_start_otherwise_share_their_rule_and_its_kernel():
    assert jbptt.irnn.rule is jbptt.rnn_cell(jbptt.relu, bias=False).rule
    assert jbptt.lstm_cell(bias=False).rule is jbptt.lstm_cell(forget_bias=3.0).rule is jbptt.lstm.rule
    assert {kernel.kind for kernel in kernels().values()} == KERNELS.kinds.keys()


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"backend must be one of \['cpu', 'scan', 'native', 'xla'\].*, got 'cuda'"):
        cost(*arguments(jbptt.lstm, 7, 2), backend="cuda")


@needs_kernels
def test_exported_programs_are_of_the_scan_whatever_the_platform():
    params, xs = arguments(jbptt.lstm, 300, 2)
    function = jax.jit(lambda params, xs: jax.grad(cost)(params, xs))
    for platform in ("cpu", "cuda"):
        exported = jax.export.export(function, platforms=[platform])(params, xs)
        assert "jbptt_forward" not in exported.mlir_module()
        if platform == "cpu":
            got, expected = exported.call(params, xs), function(params, xs)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), got, expected)


def test_without_a_library(tmp_path, monkeypatch):
    """As after an installation without a compiler: told of where it is asked for, and no matter elsewhere."""
    params, xs = arguments(jbptt.lstm, 7, 2)
    monkeypatch.setattr(library, "BUILT", tmp_path)
    loaded.cache_clear()
    try:
        assert not jbptt.backends()["native"].available
        (tmp_path / "failed.txt").write_text("it was not built: c++: command not found\n")
        loaded.cache_clear()
        status = jbptt.backends()
        assert status["native"] == status["cpu"] == (False, "it was not built: c++: command not found")
        assert status["xla"] == status["scan"] and status["scan"].available
        with pytest.raises(ValueError, match="c\\+\\+: command not found"):
            jbptt.unroll(jbptt.lstm, params, xs, backend="native")
        jbptt.unroll(jbptt.lstm, params, xs)
        (tmp_path / "portable.so").write_bytes(b"of another machine")
        loaded.cache_clear()
        assert "cannot be loaded" in jbptt.backends()["native"].detail
    finally:
        loaded.cache_clear()


@needs_kernels
def test_a_library_of_other_sources_is_not_registered(monkeypatch):
    monkeypatch.setattr(library, "sources_digest", lambda: "0123456789abcdef")
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *args, **options: pytest.fail("registered"))
    loaded.cache_clear()
    try:
        detail = "it was built from other sources: install jbptt again with pip"
        assert jbptt.backends()["native"] == (False, detail)
    finally:
        loaded.cache_clear()


def test_every_change_of_a_source_changes_the_digest(tmp_path):
    copied = Path(shutil.copytree(Path(library.__file__).parent, tmp_path / "cpu", ignore=lambda *_: ["built"]))
    assert sources_digest(copied) == sources_digest()
    digests = {sources_digest()}
    for path in sorted([*copied.glob("*.h"), *copied.glob("*.cc")]):
        path.write_text(path.read_text() + "\n")
        assert sources_digest(copied) not in digests
        digests.add(sources_digest(copied))
    assert len(digests) > 5


@needs_kernels
def test_a_library_for_a_newer_jaxlib_is_not_registered(monkeypatch):
    monkeypatch.setattr(library, "ffi_version", lambda: 0)
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *args, **options: pytest.fail("registered"))
    loaded.cache_clear()
    try:
        assert "built for a newer JAX" in jbptt.backends()["native"].detail
    finally:
        loaded.cache_clear()


needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")


def compiled_and_run(flags, sources, program):
    """What a C++ program says, and how it ends."""
    kernels = Path(library.__file__).parent
    subprocess.run(["c++", "-std=c++17", "-Wno-psabi", *flags, f"-I{kernels}", *sources, "-o", program], check=True)
    return subprocess.run([program], capture_output=True, text=True)


@pytest.mark.full
@needs_compiler
def test_sanitizers_find_nothing(tmp_path):
    """Address's and UndefinedBehavior's, watching the kernels over odd sizes, alone and with helpers, for whom there is
    work at sizes as small as those."""
    flags = "-O0 -fsanitize=address,undefined -fno-sanitize-recover=all -pthread"
    tuning = "-DJBPTT_TUNING={4,2,6,512,48,48,1000,100}"
    sources = [NATIVE / "driver.cc", Path(library.__file__).parent / "kernels.cc"]
    done = compiled_and_run([*flags.split(), tuning], sources, tmp_path / "driver")
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stderr


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize("tuning", ["sse", "neon", "avx2", "avx512"])
def test_functions_of_vectors_and_every_tile_of_a_product(tuning, tmp_path):
    """By any machine's instructions: the compiler makes wide vectors of narrow ones."""
    flags = f"-O2 -ffp-contract=fast -DJBPTT_TUNING=tuned::{tuning}"
    done = compiled_and_run(flags.split(), [NATIVE / "arithmetic.cc"], tmp_path / "arithmetic")
    assert (done.returncode, done.stdout) == (0, "0 failures\n")
