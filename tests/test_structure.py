"""Structure, not only numbers: what the traced program holds, how it grows, and what an import brings in."""

import re
import subprocess
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CELL_ROWS, ROWS_BY_NAME, SIZES, assert_close, planted, twins
from programs import equations, reverse_carries, traced

import jbptt
from jbptt.backends import scan
from jbptt.cells.rule import Consts
from jbptt.cells.table import CELLS
from jbptt.recurrence.inputs import Inputs, Spec

every_cell = pytest.mark.parametrize("row", CELL_ROWS, ids=lambda row: row.name)


def weight_shapes(params):
    return {shape for leaf in jax.tree.leaves(params) for shape in (leaf.shape, leaf.shape[::-1])}


@every_cell
def test_no_weight_gradient_goes_back_in_time(row):
    manual, _, args = twins(row)
    (carry,) = reverse_carries(traced(manual, args))
    assert (SIZES.B, SIZES.H) in carry
    assert not weight_shapes(args[0]) & set(carry)


@every_cell
def test_with_auto_one_does(row):
    """What the test above looks for, it finds where it is."""
    _, auto, args = twins(row)
    (carry,) = reverse_carries(traced(auto, args))
    assert args[0]["W"].shape in carry


@every_cell
def test_program_does_not_grow_with_time(row):
    def size(T):
        manual, _, args = twins(row, SIZES._replace(T=T))
        return sum(1 for _ in equations(traced(manual, args)))

    assert size(3) == size(30)


def program_of_length(T, vjp):
    """The compiled value and gradient of an LSTM."""
    params, xs = jbptt.lstm.init(jax.random.key(0), 8, 16), jnp.zeros((T, 4, 8), jnp.float32)

    def cost(params, xs):
        return jnp.sum(jbptt.unroll(jbptt.lstm, params, xs, vjp=vjp, backend="scan" if vjp == "manual" else None)[1])

    return jax.jit(jax.value_and_grad(cost, (0, 1))).lower(params, xs).compile()


def rewritten(program):
    """Instructions within loops that give all of a [1000, ...] buffer, but for updates in its own place."""
    computations = re.split(r"\n(?=(?:ENTRY )?%\S+ \()", program.as_text())
    parts = [computation.splitlines() for computation in computations]
    named = {lines[0].split(" ")[0]: lines for lines in parts}
    for lines in parts:
        if not re.match(r"%\S*region", lines[0]):  # the bodies of loops
            continue
        for line in lines[1:]:
            if not re.search(r" = \w+\[1000,\S* (?!get-tuple-element|parameter|bitcast)", line):
                continue
            called = re.search(r"calls=([^,\s]+)", line)
            computed = named[called[1]] if called else [line]
            results = [inner for inner in computed if re.search(r" = \w+\[1000,\S* (?!parameter)", inner)]
            if not all(re.search(r"dynamic-update-slice\(%(param|get-tuple)", result) for result in results):
                yield line.strip()


@pytest.mark.parametrize("vjp", ["manual", "auto"])
def test_a_step_writes_a_slice_and_nothing_else_of_what_is_stacked(vjp):
    """XLA has rewritten whole [T, ...] buffers at each step (JAX 0.11.1), which is T² in all."""
    program = program_of_length(1_000, vjp)
    assert "dynamic-update-slice" in program.as_text()
    assert not list(rewritten(program))


def test_one_that_rewrites_all_of_it_is_seen():
    def step(room, t):
        return jnp.sin(room).at[t].set(1.0), None

    program = jax.jit(lambda: jax.lax.scan(step, jnp.zeros((1_000, 4)), jnp.arange(1_000))[0]).lower().compile()
    assert list(rewritten(program))


def products(jaxpr):
    """How many axes each product's result has: 3, over the whole time axis; 2, of a step."""
    return sorted(e.outvars[0].aval.ndim for e in equations(jaxpr) if e.primitive.name == "dot_general")


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_forward_alone_meets_the_inputs_step_by_step_while_weights_are_cached(name):
    manual, auto, (params, xs, state) = twins(ROWS_BY_NAME[name])
    step_by_step, at_once = [2, 2], [2, 3]  # x U and h W
    program = jax.make_jaxpr(manual)(params, xs, state).jaxpr
    assert products(program) == sorted(step_by_step + at_once), "the first on a CPU"
    compiled = jax.jit(manual).lower(params, xs, state).compile()
    assert str(params["U"].shape[1]) in compiled.as_text()
    assert f"f64[{SIZES.T},{SIZES.B},{params['U'].shape[1]}]" not in compiled.as_text()
    spec, inputs = Spec(CELLS[name].rule), Inputs(Consts(params), state, xs)
    uncached = planted(scan.forward, CACHED=0)
    assert products(jax.make_jaxpr(partial(uncached, spec))(inputs).jaxpr) == at_once
    assert products(jax.make_jaxpr(auto)(params, xs, state).jaxpr) == at_once, "what JAX differentiates"
    assert_close(compiled(params, xs, state), jax.jit(auto)(params, xs, state))


def test_forward_alone_of_one_gate_meets_the_inputs_at_once():
    manual, _, args = twins(ROWS_BY_NAME["rnn"])
    assert products(jax.make_jaxpr(manual)(*args).jaxpr) == [2, 3]


def test_a_cell_that_forgets_a_gradient_is_told():
    rule = jbptt.lstm.rule._replace(weight_vjp=lambda consts, residuals, deltas: Consts({"W": consts.params["W"]}))
    cell = jbptt.lstm._replace(rule=rule)
    params, xs = jbptt.lstm.init(jax.random.key(0), 2, 3), jnp.zeros((4, 2), jnp.float32)
    with pytest.raises(ValueError, match=r"neither .* gives a gradient of \['b'\]"):
        jax.grad(lambda params: jnp.sum(jbptt.unroll(cell, params, xs)[1]))(params)


@pytest.mark.parametrize("name", ["siso", "simo"])
def test_a_single_input_is_not_paid_for_at_every_step(name):
    manual, _, args = twins(ROWS_BY_NAME[name])
    U = args[0]["cell"]["U"].shape
    shapes, rows_of_U = [], []
    for equation in equations(traced(manual, args)):
        variables = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
        shapes += variables
        if equation.primitive.name == "dot_general" and U in variables:
            rows_of_U.append([shape for shape in variables if shape != U])
    assert (SIZES.T, SIZES.B, SIZES.I) not in shapes
    assert (SIZES.T - 1, SIZES.B, SIZES.I) not in shapes
    assert len(rows_of_U) == 3  # z = x U, dx = Uᵀ δ, ∂U = δ xᵀ
    assert all(
        shape in ((1, SIZES.B, SIZES.I), (1, SIZES.B, SIZES.H), (SIZES.B, SIZES.I), (SIZES.B, SIZES.H))
        for shapes in rows_of_U
        for shape in shapes
    )


def test_with_an_input_at_every_step_it_would_be():
    manual, _, args = twins(ROWS_BY_NAME["mimo"])
    shapes = {v.aval.shape for equation in equations(traced(manual, args)) for v in equation.invars}
    assert (SIZES.T, SIZES.B, SIZES.I) in shapes


def test_jit_traces_once_for_equal_shapes():
    @jax.jit
    @chex.assert_max_traces(n=2)
    def gradient(params, xs):
        return jax.grad(lambda params: jnp.sum(jbptt.unroll(jbptt.lstm_cell(), params, xs)[1]))(params)

    params = jbptt.lstm.init(jax.random.key(0), SIZES.I, SIZES.H)
    for T in (3, 3, 4, 3):
        gradient(params, jnp.zeros((T, SIZES.B, SIZES.I), jnp.float32))
    with pytest.raises(AssertionError, match="traced > 2 times"):
        gradient(params, jnp.zeros((5, SIZES.B, SIZES.I), jnp.float32))


def test_a_cell_as_a_static_argument_traces_once():
    traces = []

    def run(cell, params, xs):
        traces.append(cell.name)
        return jbptt.unroll(cell, params, xs)

    run = jax.jit(run, static_argnums=0)
    params = jbptt.gru.init(jax.random.key(0), SIZES.I, SIZES.H)
    for _ in range(3):
        run(jbptt.gru_cell(), params, jnp.zeros((2, SIZES.B, SIZES.I), jnp.float32))
    assert traces == ["gru"]


MAKERS = {
    "rnn": jbptt.rnn_cell,
    "rnn_relu": lambda: jbptt.rnn_cell(jbptt.relu, bias=False),
    "rnn_heads": lambda: jbptt.rnn_cell(heads=2),
    "indrnn": jbptt.indrnn_cell,
    "clockwork": lambda: jbptt.clockwork_cell([1, 3]),
    "lstm": jbptt.lstm_cell,
    "lstm_forget_bias": lambda: jbptt.lstm_cell(forget_bias=0.5),
    "lstm_peepholes": lambda: jbptt.lstm_cell(peepholes="io", forget_gate=False),
    "lstm_depth_gated": lambda: jbptt.lstm_depth_gated_cell(3),
    "lstm_projected": lambda: jbptt.lstm_projected_cell(3),
    "lstm_layer_norm": jbptt.lstm_layer_norm_cell,
    "slstm": lambda: jbptt.slstm_cell(heads=2),
    "gru": jbptt.gru_cell,
    "gru_nobias": lambda: jbptt.gru_cell(bias=False),
    "gru_reset_before": jbptt.gru_reset_before_cell,
    "mgu": jbptt.mgu_cell,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_makers_return_the_same_cell(make):
    assert make() is make()
    assert hash(make()) == hash(make())


def test_constants_are_what_the_makers_return():
    plain = ["rnn", "lstm", "gru", "indrnn", "clockwork", "slstm", "mgu"]
    for name in (*plain, "gru_reset_before", "lstm_depth_gated", "lstm_projected", "lstm_layer_norm"):
        assert getattr(jbptt, name) is getattr(jbptt, f"{name}_cell")()
    assert jbptt.rnn is jbptt.rnn_cell(activation=jbptt.tanh, bias=True, heads=1)
    assert jbptt.lstm is jbptt.lstm_cell(bias=True, forget_bias=1.0, heads=1) is jbptt.LSTM_VARIANTS["NP"]
    assert jbptt.LSTM_VARIANTS["V"] is jbptt.lstm_cell(peepholes="ifo")
    assert jbptt.gru is jbptt.gru_cell(bias=1, heads=np.int64(1))
    assert jbptt.gru_cell(bias=0, heads=np.int64(4)) is jbptt.gru_cell(bias=False, heads=4)


def test_cells_are_called_what_makes_them():
    assert jbptt.lstm.name == "lstm"
    assert jbptt.LSTM_VARIANTS["CIFG"].name == "lstm_cell(coupled=True, peepholes='io')"
    assert jbptt.rnn_cell(jbptt.relu, heads=4).name == "rnn_cell(activation='relu', heads=4)"


def test_every_cell_is_another():
    assert len(set(CELLS.values())) == len(CELLS)


IMPORT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is not a core dependency")

sys.meta_path.insert(0, Blocked())
import jbptt
print(*sorted({blocked} & {{name.split(".")[0] for name in sys.modules}}))
"""


def test_core_import_needs_core_dependencies_only():
    blocked = {"click", "rich", "matplotlib", "orbax", "jupytext", "nbclient", "pytest", "hypothesis"}
    blocked |= {"safetensors", "torch", "flax", "equinox", "haiku", "keras"}
    done = subprocess.run([sys.executable, "-c", IMPORT.format(blocked=blocked)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_core_import_would_be_seen_to_need_more():
    done = subprocess.run([sys.executable, "-c", IMPORT.format(blocked={"jax"})], capture_output=True, text=True)
    assert done.returncode != 0
    assert "jax is not a core dependency" in done.stderr
