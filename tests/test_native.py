"""The C++ kernels give what the scan gives, to float32's accuracy: at any size, with any marks, on any vectors."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jbptt.kernels import native

import jbptt
from jbptt.backends.cpu import library
from jbptt.backends.cpu.library import loaded
from jbptt.backends.cpu.sources import INSTRUCTION_SETS, sources_digest

KERNELS = loaded()
needs_kernels = pytest.mark.skipif(isinstance(KERNELS, str), reason=f"no kernels: {KERNELS}")

NATIVE = Path(__file__).parent / "native"

VARIANTS = {name: cell for name, cell in jbptt.LSTM_VARIANTS.items() if name not in ("NP", "FGR")}
CELLS = {
    "lstm": jbptt.lstm,
    **VARIANTS,
    "one peephole": jbptt.lstm_cell(peepholes="f"),
    "no bias": jbptt.lstm_cell(bias=False),
    "gru": jbptt.gru,
    "gru, no bias": jbptt.gru_cell(bias=False),
    "rnn": jbptt.rnn,
    "rnn_relu": jbptt.rnn_cell(jbptt.relu),
    "rnn_sigmoid": jbptt.rnn_cell(jbptt.sigmoid),
    "irnn": jbptt.irnn,
}
OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": True},
    "lengths in reverse": {"lengths": True, "reverse": True},
    "resets": {"resets": True},
    "resets in reverse to a state": {"resets": True, "reverse": True, "reset_state": True},
    "everything": {"lengths": True, "resets": True, "reset_state": True},
}


def problem(cell, T, batch, I, H, options=None, seed=0):
    """(run(vjp=, backend=, dtype=) -> values and every gradient, float64 ones as NumPy)"""
    draw = np.random.default_rng(seed)
    options = dict(options or {})
    params = cell.init(jax.random.key(seed), I, H, jnp.float64)
    params = {name: leaf + 0.2 * draw.standard_normal(leaf.shape) for name, leaf in params.items()}
    xs = draw.standard_normal((T, *batch, I))
    state = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape), cell.initial_state(params, batch))
    reset_state = jax.tree.map(lambda leaf: leaf[::-1] - 1, state) if options.pop("reset_state", False) else None
    if options.pop("lengths", False):
        options["lengths"] = draw.integers(0, T + 1, batch)
    if options.pop("resets", False):
        options["resets"] = draw.random((T, *batch)) < 0.3

    def run(dtype, **how):
        args = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, xs, state, reset_state))

        def forward(params, xs, state, reset_state):
            more = {} if reset_state is None else {"reset_state": reset_state}
            return jbptt.unroll(cell, params, xs, state, **options, **more, **how)

        outs, vjp = jax.vjp(forward, *args)
        drawn = np.random.default_rng(seed + 1)
        return outs, vjp(jax.tree.map(lambda out: jnp.asarray(drawn.standard_normal(out.shape), dtype), outs))

    return run


def errors(got, expected):
    """Of each leaf, relative to its largest entry."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    return [
        np.max(np.abs(np.asarray(g, np.float64) - e), initial=0) / max(np.max(np.abs(e), initial=0), 1e-3)
        for g, e in pairs
    ]


def assert_as_good_as_xla(run):
    """Against float64: within twice what the scan itself does in float32, or ten roundings."""
    expected = jax.jit(partial(run, jnp.float64, vjp="auto"))()
    native = errors(jax.jit(partial(run, jnp.float32, backend="native"))(), expected)
    xla = errors(jax.jit(partial(run, jnp.float32, backend="xla"))(), expected)
    assert max(native) <= max(2 * max(xla), 10 * np.finfo(np.float32).eps), (native, xla)


@needs_kernels
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["V", "gru"])
def test_gradients_with_every_mark(name, options):
    assert_as_good_as_xla(problem(CELLS[name], 7, (5,), 3, 18, OPTIONS[options]))


@needs_kernels
@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_every_cell(name):
    assert_as_good_as_xla(problem(CELLS[name], 9, (3,), 5, 21, OPTIONS["everything"]))


@needs_kernels
@pytest.mark.parametrize(
    ("T", "batch", "I", "H"),
    [(1, (1,), 1, 1), (4, (), 3, 17), (3, (2, 3), 5, 4), (0, (3,), 2, 5), (2, (0,), 3, 4), (2, (40,), 70, 130)],
)
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_edge_sizes(name, T, batch, I, H):
    assert_as_good_as_xla(problem(CELLS[name], T, batch, I, H))


@needs_kernels
@hypothesis.settings(max_examples=5)
@hypothesis.given(
    name=st.sampled_from(sorted(CELLS)),
    T=st.integers(1, 9),
    B=st.integers(1, 30),
    I=st.integers(1, 70),
    H=st.integers(1, 140),
    options=st.sampled_from(sorted(OPTIONS)),
    seed=st.integers(0, 1000),
)
def test_any_sizes(name, T, B, I, H, options, seed):
    assert_as_good_as_xla(problem(CELLS[name], T, (B,), I, H, OPTIONS[options], seed))


@needs_kernels
@pytest.mark.parametrize(("T", "B", "I", "H"), [(3, 3, 40, 1024), (300, 8, 3, 16)])
def test_long_sums_are_as_accurate(T, B, I, H):
    """A δ of 4,096 terms, and a weight's gradient of 2,400."""
    assert_as_good_as_xla(problem(jbptt.lstm, T, (B,), I, H))


@needs_kernels
@pytest.mark.parametrize("name", ["V", "gru", "rnn"])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set(name, instruction_set, monkeypatch):
    kernels = loaded(instruction_set)
    if isinstance(kernels, str):
        pytest.skip(kernels)
    monkeypatch.setattr(native, "loaded", lambda: kernels)
    assert_as_good_as_xla(problem(CELLS[name], 6, (7,), 5, 37, OPTIONS["everything"]))


def cost(params, xs, lengths, backend, cell=jbptt.lstm):
    state, hs = jbptt.unroll(cell, params, xs, lengths=lengths, backend=backend)
    return jnp.sum(jnp.sin(hs)) + jnp.sum(state.h**2)


def drawn(cell):
    """(params, xs [N, T, B, I], lengths [N, B]), float32"""
    params = jax.tree.map(jnp.float32, cell.init(jax.random.key(0), 3, 18))
    xs = jax.random.normal(jax.random.key(1), (4, 7, 2, 3), jnp.float32)
    return params, xs, jnp.array([[7, 3], [0, 7], [5, 5], [1, 2]])


def assert_alike(derivative, *args):
    got, expected = (jax.jit(partial(derivative, backend))(*args) for backend in ("native", "xla"))
    assert max(errors(got, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), expected))) < 2e-6


@needs_kernels
@pytest.mark.parametrize("in_axes", [(None, 0, 0), (0, 0, None), (0, None, None)])
@pytest.mark.parametrize("name", ["V", "gru, no bias"])
def test_vmap(name, in_axes):
    params, xs, lengths = drawn(CELLS[name])
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 1.1, leaf * 0.9, leaf]), params)
    args = [many if in_axes[0] == 0 else params, xs if in_axes[1] == 0 else xs[0]]
    args.append(lengths if in_axes[2] == 0 else lengths[0])

    def derivative(backend, *args):
        gradient = jax.value_and_grad(partial(cost, backend=backend, cell=CELLS[name]), (0, 1))
        return jax.vmap(gradient, in_axes)(*args)

    assert_alike(derivative, *args)


@needs_kernels
@pytest.mark.parametrize("name", ["V", "gru"])
def test_second_derivatives_forward_mode_and_vmap_of_vmap(name):
    params, xs, lengths = drawn(CELLS[name])

    def squares(backend, params):
        gradient = jax.grad(partial(cost, backend=backend, cell=CELLS[name]))(params, xs[0], lengths[0])
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))

    def derivatives(backend, params):
        forward = partial(cost, xs=xs[0], lengths=lengths[0], backend=backend, cell=CELLS[name])
        of_xs = jax.grad(lambda x: cost(params, x, None, backend, CELLS[name]))
        return (
            jax.grad(partial(squares, backend))(params),
            jax.jvp(forward, (params,), (params,)),
            jax.vmap(jax.vmap(of_xs))(jnp.stack([xs, xs + 1])),
        )

    assert_alike(derivatives, params)


@needs_kernels
def test_padding_that_is_no_number():
    params, xs, lengths = drawn(jbptt.lstm)
    xs, lengths = xs[0], jnp.array([7, 3])
    gradient = jax.grad(partial(cost, backend="native"), (0, 1))
    clean, padded = (gradient(params, x, lengths) for x in (xs.at[3:, 1].set(0.0), xs.at[3:, 1].set(jnp.nan)))
    jax.tree.map(np.testing.assert_array_equal, clean, padded)


@needs_kernels
def test_calls_at_once_give_what_each_gives_alone():
    """A hundred from Python's threads: XLA's few threads are claimed by all of them."""
    params, xs, lengths = drawn(jbptt.lstm)
    gradient = jax.jit(jax.grad(partial(cost, backend="native")))
    alone = gradient(params, xs[0], lengths[0])
    with ThreadPoolExecutor(100) as pool:
        together = list(pool.map(lambda _: gradient(params, xs[0], lengths[0]), range(100)))
    for each in together:
        jax.tree.map(np.testing.assert_array_equal, each, alone)


@needs_kernels
def test_forward_and_back_are_a_call_each():
    params, xs, _ = drawn(jbptt.gru)
    xs = jnp.tile(xs[0], (37, 1, 1))  # 518 rows
    program = str(jax.make_jaxpr(jax.grad(partial(cost, lengths=None, backend=None, cell=jbptt.gru)))(params, xs))
    assert (program.count("ffi_call["), program.count("scan[")) == (2, 0)


@needs_kernels
@pytest.mark.parametrize(
    ("T", "B", "H", "native"), [(256, 2, 16, True), (1, 64, 16, False), (600, 1, 16, True), (600, 1, 300, False)]
)
def test_the_kernel_is_taken_where_it_is_faster(T, B, H, native):
    params = jax.eval_shape(partial(jbptt.lstm.init, input_size=3, hidden_size=H), jax.random.key(0))
    xs = jax.ShapeDtypeStruct((T, B, 3), jnp.float32)
    assert ("ffi_call[" in str(jax.make_jaxpr(partial(jbptt.unroll, jbptt.lstm))(params, xs))) == native


CANNOT = {
    "float64": (r"for float32", {}, jnp.float64),
    "auto": (r"vjp='manual'", {"vjp": "auto"}, jnp.float32),
    "checkpoint": (r"no checkpoints", {"checkpoint": 2}, jnp.float32),
    "truncate": (r"no truncation", {"truncate": 2}, jnp.float32),
    "zoneout": (r"no truncation, dropout or zoneout", {"zoneout": 0.1}, jnp.float32),
    "another cell": (r"no kernel for lstm_cell\(heads=3\)", {"cell": jbptt.lstm_cell(heads=3)}, jnp.float32),
    "a changed way back": (r"no kernel", {"cell": jbptt.lstm._replace(step_vjp=jbptt.gru.step_vjp)}, jnp.float32),
    "a changed cell": (
        r"no kernel",
        {"cell": jbptt.lstm._replace(step=lambda *args: jbptt.lstm.step(*args))},
        jnp.float32,
    ),
}


@needs_kernels
@pytest.mark.parametrize("name", CANNOT)
def test_what_has_no_kernel_is_told_of_and_runs_without(name):
    message, options, dtype = CANNOT[name]
    options = dict(options)
    cell = options.pop("cell", jbptt.lstm)
    params, xs = cell.init(jax.random.key(0), 3, 18, dtype), jnp.ones((4, 2, 3), dtype)
    with pytest.raises(ValueError, match=message):
        jbptt.unroll(cell, params, xs, **options, backend="native")
    jbptt.unroll(cell, params, xs, **options)


def test_unknown_backend():
    params, xs, _ = drawn(jbptt.lstm)
    with pytest.raises(ValueError, match=r"backend must be 'xla', 'native' or None, got 'cuda'"):
        jbptt.unroll(jbptt.lstm, params, xs[0], backend="cuda")


def test_without_a_library(tmp_path, monkeypatch):
    """As after an installation without a compiler: told of where it is asked for, and no matter elsewhere."""
    params, xs, _ = drawn(jbptt.lstm)
    monkeypatch.setattr(library, "BUILT", tmp_path)
    loaded.cache_clear()
    try:
        assert not jbptt.backends()["native"].available
        (tmp_path / "failed.txt").write_text("it was not built: c++: command not found\n")
        loaded.cache_clear()
        assert jbptt.backends() == {
            "xla": library.Backend(True, "cpu"),
            "native": library.Backend(False, "it was not built: c++: command not found"),
        }
        with pytest.raises(ValueError, match="c\\+\\+: command not found"):
            jbptt.unroll(jbptt.lstm, params, xs[0], backend="native")
        jbptt.unroll(jbptt.lstm, params, xs[0])
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
        assert jbptt.backends()["native"] == library.Backend(False, detail)
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


@needs_compiler
def test_sanitizers_find_nothing(tmp_path):
    """Address's and UndefinedBehavior's, watching the kernels over odd sizes, alone and with helpers."""
    flags = "-O0 -fsanitize=address,undefined -fno-sanitize-recover=all -pthread -DJBPTT_LANES=4 -DJBPTT_PANEL=2"
    sources = [NATIVE / "driver.cc", Path(library.__file__).parent / "kernels.cc"]
    done = compiled_and_run(flags.split(), sources, tmp_path / "driver")
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stderr


@needs_compiler
@pytest.mark.parametrize(("lanes", "panel"), [(4, 2), (4, 4), (8, 2), (16, 4)])
def test_functions_of_vectors_and_every_tile_of_a_product(lanes, panel, tmp_path):
    """By any machine's instructions: the compiler makes wide vectors of narrow ones."""
    flags = f"-O2 -ffp-contract=fast -DJBPTT_LANES={lanes} -DJBPTT_PANEL={panel}"
    done = compiled_and_run(flags.split(), [NATIVE / "arithmetic.cc"], tmp_path / "arithmetic")
    assert (done.returncode, done.stdout) == (0, "0 failures\n")
