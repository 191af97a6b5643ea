# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Manual against auto
#
# Two ways back through the same forward pass: the one that this library derives by hand (`vjp="manual"`), and the one
# that `jax.grad` makes of a scan (`vjp="auto"`). Their gradients are the same numbers. What they keep, what they carry,
# and what they cost is not.
#
# 1. What goes back in time, read from the programs
# 2. The oracle: are they the same gradients?
# 3. Time and memory against T, B and H
# 4. Forward mode
# 5. `jbptt.scan`: any body
#
# The derivation itself is another notebook, `bptt_by_hand`. `T` is time, `B` the batch, `I` inputs, `H` hidden units.
#
# *This notebook is made from `manual_vs_auto.py` by `python tests/test_notebook.py manual_vs_auto`, which needs
# `pip install -e '.[test]'`; the tests execute it again at smaller sizes (`JBPTT_SHORT=1`). Cells tagged `measured`
# print times and memory of the machine that executed it: all times are ratios, of programs that took turns, each by
# its fastest turn, which whatever else the machine did was the least in the way of.*

# %%
import io
import os
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from IPython.display import Image, display
from jax import lax
from matplotlib.figure import Figure

import jbptt
from jbptt.comparison.pair import gradient_errors, leaf_errors

SHORT = bool(os.environ.get("JBPTT_SHORT"))
ROUNDS = 3 if SHORT else 41


def table(heading, rows):
    """Prints rows under their headings, in columns."""
    lines = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in line] for line in (heading, *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heading))]
    for first, *others in lines:
        print(
            f"{first:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)),
            sep="  ",
        )


def show(figure, alt):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100, metadata={"Software": None})
    display(Image(image.getvalue(), alt=alt))


# %% [markdown]
# ## 1. What goes back in time, read from the programs
#
# An LSTM as one writes it in JAX without a library: a step, and `lax.scan`. Its weights are those of `jbptt.lstm`,
# whose gate blocks stand in the same order.


# %%
def step(w, state, x):
    h, c = state
    z_i, z_f, z_g, z_o = jnp.split(x @ w["U"] + h @ w["W"] + w["b"], 4, axis=-1)
    c = jax.nn.sigmoid(z_f) * c + jax.nn.sigmoid(z_i) * jnp.tanh(z_g)
    h = jax.nn.sigmoid(z_o) * jnp.tanh(c)
    return (h, c), h


def plain(w, xs, scan=lax.scan):
    """Every h [T, B, H]."""
    zero = jnp.zeros((*xs.shape[1:-1], w["W"].shape[0]), xs.dtype)
    _, hs = scan(partial(step, w), (zero, zero), xs)
    return hs


def unrolled(cell=jbptt.lstm, **options):
    return lambda w, xs: jbptt.unroll(cell, w, xs, **options)[1]


class Sizes(NamedTuple):
    T: int
    B: int
    I: int
    H: int


def drawn(sizes, cell=jbptt.lstm):
    """(parameters, xs) of these sizes."""
    for_params, for_xs = jax.random.split(jax.random.key(0))
    xs = jax.random.normal(for_xs, sizes[:3])
    return cell.init(for_params, sizes.I, sizes.H), xs


def cost(hs):
    return jnp.sum(hs**2)


# %% [markdown]
# The gradient of a cost by the weights, as JAX traces it, has two scans: one forward, which also puts out what the way
# back will need (the *residuals*), and one in reverse, which reads them. A traced program (a *jaxpr*) is data: its
# equations can be listed, and each residual can be followed to what the step computed it from.


# %%
def equations(jaxpr):
    """Every equation of a program, those of programs within it too."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else [parameter]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def scans(run, args):
    """(forward, back): the two scans in the gradient by the weights."""
    program = jax.make_jaxpr(jax.grad(lambda w, xs: cost(run(w, xs))))(*args).jaxpr
    found = [equation for equation in equations(program) if equation.primitive.name == "scan"]
    (forward,) = [scan for scan in found if not scan.params["reverse"]]
    (back,) = [scan for scan in found if scan.params["reverse"]]
    return forward, back


def in_bytes(arrays):
    return sum(array.size * array.dtype.itemsize for array in arrays)


def stacked(forward):
    """The variables of a step that the forward scan puts out for the way back: beside h, which is its result."""
    of_step = forward.params["jaxpr"].jaxpr.outvars
    return [variable for variable in of_step[forward.params["num_carry"] :] if variable is not of_step[0]]


SIGNS = {"mul": "{} {}", "add": "({} + {})", "sub": "({} − {})", "logistic": "σ({})", "tanh": "tanh({})"}


def formulas(forward):
    """Of what the LSTM's forward scan puts out for the way back: how it is computed."""
    body, carried = forward.params["jaxpr"].jaxpr, forward.params["num_carry"]
    made = {variable: equation for equation in body.eqns for variable in equation.outvars}
    named = {body.outvars[0]: "hᵗ", body.outvars[1]: "cᵗ"}
    state = body.invars[forward.params["num_consts"] :][:carried]
    named |= dict(zip(state, ("hᵗ⁻¹", "cᵗ⁻¹"), strict=True))
    (split,) = [equation for equation in body.eqns if equation.primitive.name == "split"]
    named |= dict(zip(split.outvars, ("z_i", "z_f", "z_g", "z_o"), strict=True))

    def formula(variable):
        if hasattr(variable, "val"):
            return f"{float(variable.val):g}"
        if variable in named:
            return named[variable]
        equation = made[variable]
        return SIGNS[equation.primitive.name].format(*map(formula, equation.invars))

    return [formula(variable) for variable in stacked(forward)]


small = Sizes(T=50, B=8, I=16, H=32)
args = drawn(small)
ways = {
    "lax.scan": plain,
    'jbptt, vjp="auto"': unrolled(vjp="auto"),
    'jbptt, vjp="manual"': unrolled(backend="scan"),
}
print(f"bytes of one [B, H], B = {small.B} and H = {small.H} in float32: {4 * small.B * small.H:,}")
for name, run in ways.items():
    forward, _ = scans(run, args)
    kept = [variable.aval for variable in stacked(forward)]
    print(f"\n{name}: {len(kept)} residuals beside hᵗ, {in_bytes(kept):,} bytes a step")
    for aval, formula in zip(kept, formulas(forward), strict=True):
        print(f"    {list(aval.shape)}  {formula}")

# %% [markdown]
# JAX differentiates each operation by itself. A product $a\,b$ keeps both factors, $\sigma(z)$ its derivative
# $\sigma(z)\,(1 - \sigma(z))$, $\tanh(z)$ itself and $1 - \tanh(z)$, of which its derivative is formed; nothing tells
# it that all of these follow from $\sigma(z)$ and $\tanh(z)$. Who derives by hand keeps the gates and the cell state,
# and forms the derivatives on the way back. ($h^{t-1}$ is not kept beside $h^t$: it is the output, one step earlier.)
#
# Now the way back: what its scan carries from step to step.


# %%
class Carried(NamedTuple):
    """What the reverse scan has in its carry: bytes, and shapes. What is [T, ...] is written one slice a step."""

    state: list
    weights: list
    written: list


def carried(back, args):
    T, shapes = back.params["length"], {w.shape for w in args[0].values()}
    found = Carried([], [], [])
    for variable in back.outvars[: back.params["num_carry"]]:
        shape = variable.aval.shape
        kind = found.weights if shape in shapes else found.written if shape[0] == T else found.state
        kind.append(variable.aval)
    of_stack = [v.aval for v in back.outvars[back.params["num_carry"] :]]
    return found._replace(written=found.written + of_stack)


def shapes(avals):
    return " ".join(str(list(aval.shape)) for aval in avals) or "none"


for name, run in ways.items():
    found = carried(scans(run, args)[1], args)
    print(name)
    print(f"    gradients of the state:    {shapes(found.state):<22} {in_bytes(found.state):>7,} bytes")
    print(f"    gradients of the weights:  {shapes(found.weights):<22} {in_bytes(found.weights):>7,} bytes")
    print(f"    written, a slice a step:   {shapes(found.written):<22} {in_bytes(found.written) // small.T:>7,} bytes")

# %% [markdown]
# `jax.grad`'s scan has the gradients of the weights in its carry: they are read, added to and written at *every* step.
# The library's scan carries the gradients of the state alone and writes down $\delta^t$; the weights' gradients are one
# product of all $\delta^t$ with all $h^{t-1}$, after the scan. (`vjp="auto"` differs from the plain `lax.scan` in that
# $x^t U$ is formed for all steps at once, which takes $U$'s gradient out of the carry as well.)
#
# So per step back, weights are read and written in one of the two. How much is that beside all else that a step reads
# and writes? It grows with $H^2$, the rest with $B H$:


# %%
def bytes_of_a_step_back(run, args):
    """(of weights' gradients, of all else) that a step of the reverse scan reads and writes."""
    forward, back = scans(run, args)
    found = carried(back, args)
    kept = in_bytes(variable.aval for variable in stacked(forward))
    written = in_bytes(found.written) // back.params["length"]
    return 2 * in_bytes(found.weights), kept + 2 * in_bytes(found.state) + written


rows = []
for H in (32, 128, 512):
    for B in (1, 8, 64):
        of_sizes = jax.eval_shape(partial(drawn, Sizes(T=3, B=B, I=16, H=H)))  # shapes are enough
        weights, rest = bytes_of_a_step_back(unrolled(vjp="auto"), of_sizes)
        no_weights, ours = bytes_of_a_step_back(unrolled(backend="scan"), of_sizes)
        rows.append((f"H = {H}, B = {B}", weights, rest, no_weights, ours, f"{(weights + rest) / ours:.1f}"))
table(
    ("bytes a step back", "auto: weights'", "all else", "manual: weights'", "all else", "auto / manual, in all"), rows
)

# %% [markdown]
# (This is what the programs say. What of it reaches memory is up to caches: weights that fit into them are cheap to go
# over. Section 3 has the times.)
#
# Other cells keep and carry in the same way. What their forward scans put out for the way back, beside every $h^t$:

# %%
rows = []
for cell in (jbptt.rnn, jbptt.gru, jbptt.lstm, jbptt.LSTM_VARIANTS["V"], jbptt.slstm):
    of_cell, kept = drawn(small, cell), []
    for way in ({"vjp": "auto"}, {"backend": "scan"}):
        forward, _ = scans(unrolled(cell, **way), of_cell)
        kept.append(in_bytes(variable.aval for variable in stacked(forward)))
    rows.append((cell.name, *kept, f"{kept[1] / kept[0]:.0%}"))
table(("bytes a step", "auto", "manual", "manual / auto"), rows)

# %% [markdown]
# ## 2. The oracle: are they the same gradients?
#
# `vjp="auto"` is `jax.grad`'s derivative of the same forward: an oracle that knows nothing of the equations derived by
# hand. In float64, with random cotangents on every output, for every parameter, for the inputs and for the state; the
# error is the largest difference of an array, relative to its largest entry, and of all arrays the largest. (The
# command `jbptt compare` has this, with times, for everything in the library.)

# %% tags=["measured"]
cells = (jbptt.gru,) if SHORT else (jbptt.rnn, jbptt.gru, jbptt.lstm)
for cell in cells:
    params, xs = drawn(Sizes(T=20, B=3, I=5, H=8), cell)
    state = jax.tree.map(lambda zero: zero + 0.5, cell.initial_state(params, (3,)))
    of_arrays = gradient_errors(partial(jbptt.unroll, cell), partial(jbptt.unroll, cell, vjp="auto"), params, xs, state)
    largest = max(of_arrays.values())
    print(
        f"{cell.name:<28} {len(of_arrays):>2} arrays, largest error {largest:.0e}; error <= 1e-12: {largest <= 1e-12}"
    )

# %% [markdown]
# ## 3. Time and memory against T, B and H
#
# Value and gradient by weights and inputs, compiled, in float32. *Time* is how many times as long as the hand-derived
# scan, each by its fastest turn. (More sizes, other libraries, quartiles: `benchmarks/results`.) *Memory* is what the
# compiled program allocates beside its arguments and results (`memory_analysis().temp_size_in_bytes`), which does not
# depend on how busy the machine is.
#
# `kernel` is the same hand-derived pass as one C++ call forward and one back, where the library was built with it.


# %% tags=["measured"]
class Measured(NamedTuple):
    time: dict[str, float]
    memory: dict[str, int]


MANUAL = "manual, scan"
WAYS: dict[str, Callable] = {
    "lax.scan": plain,
    "auto": unrolled(vjp="auto"),
    MANUAL: unrolled(backend="scan"),
}
if jbptt.backends()["cpu"].available and jax.default_backend() == "cpu":
    WAYS["manual, kernel"] = unrolled(backend="cpu")


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile()


def ratios(programs, args, base):
    """How many times as long as `base` each program takes: the fastest of its turns, one a round."""
    seconds = {name: [] for name in programs}
    for _ in range(ROUNDS + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            seconds[name].append(time.perf_counter() - start)
    return {name: min(of_name[1:]) / min(seconds[base][1:]) for name, of_name in seconds.items()}


def measure(sizes):
    args = drawn(sizes)
    programs = {
        name: compiled(jax.value_and_grad(lambda w, xs, run=run: cost(run(w, xs)), (0, 1)), *args)
        for name, run in WAYS.items()
    }
    memory = {name: program.memory_analysis().temp_size_in_bytes for name, program in programs.items()}
    return Measured(ratios(programs, args, MANUAL), memory)


BASE = Sizes(T=32, B=4, I=8, H=16) if SHORT else Sizes(T=128, B=8, I=32, H=64)
SWEEPS = {"T": (32,), "B": (4, 8), "H": (16,)} if SHORT else {"T": (32, 128, 512), "B": (1, 8, 64), "H": (16, 64, 256)}
UNITS = {"T": "T, steps", "B": "B, sequences", "H": "H, units"}
points = {BASE._replace(**{axis: value}) for axis, values in SWEEPS.items() for value in values}
measured = {sizes: measure(sizes) for sizes in sorted(points)}
print(f"JAX {jax.__version__} on {os.cpu_count()} {jax.default_backend()} cores; {ROUNDS} rounds")

# %% tags=["measured"]
figure = Figure(figsize=(12, 7), layout="constrained")
panels = figure.subplots(2, 3, sharey="row")
for column, (axis, values) in enumerate(SWEEPS.items()):
    of_axis = [measured[BASE._replace(**{axis: value})] for value in values]
    above, below = panels[:, column]
    for name in WAYS:
        above.plot(values, [point.time[name] for point in of_axis], "o-", label=name)
        below.plot(values, [point.memory[name] / 2**20 for point in of_axis], "o-", label=name)
    for panel in (above, below):
        panel.set_xscale("log", base=2)
        panel.set_xlabel(UNITS[axis])
        panel.grid(alpha=0.3)
    fixed = ", ".join(f"{name} = {size}" for name, size in BASE._asdict().items() if name != axis)
    above.set_title(f"an LSTM, {fixed}", fontsize=10)
panels[0, 0].set_ylabel(f"time / time of {MANUAL}")
panels[0, 0].set_ylim(bottom=0)
panels[1, 0].set_ylabel("temporary memory, MiB")
panels[1, 0].set_yscale("log")
panels[0, 0].legend()
show(figure, "Time and temporary memory of an LSTM's value and gradient against T, B and H, four ways")

# %% tags=["measured"]
rows = [
    (
        str(tuple(sizes)),
        *(f"{point.time[name]:.2f}" for name in WAYS),
        *(f"{point.memory[name] / 2**20:.2f}" for name in WAYS),
    )
    for sizes, point in measured.items()
]
table(("T, B, I, H", *(f"time: {name}" for name in WAYS), *(f"MiB: {name}" for name in WAYS)), rows)
print()
for name in WAYS:
    of_time = [point.time[name] for point in measured.values()]
    of_memory = [point.memory[name] / point.memory[MANUAL] for point in measured.values()]
    print(f"{name:<14}  time / manual scan's: {min(of_time):.2f} to {max(of_time):.2f}", end="")
    print(f"   memory / manual scan's: {min(of_memory):.2f} to {max(of_memory):.2f}")
faster = [str(sizes) for sizes, point in measured.items() if min(point.time["auto"], point.time["lax.scan"]) < 1]
less = [str(sizes) for sizes, point in measured.items() if point.memory["auto"] < point.memory[MANUAL]]
print(f"JAX's way back was the faster at {len(faster)} of {len(measured)} points: {', '.join(faster) or 'none'}")
print(f"auto needed less memory at {len(less)} of {len(measured)} points: {', '.join(less) or 'none'}")

# %% [markdown]
# Where the weights are small beside $T\,B$ rows, what was said in section 1 has its price: $\delta^t$ of all steps is
# kept until the end, where a single sum of the weights' size would have been less. (`auto` writes it down as well, for
# the gradient of $U$; the plain `lax.scan` does not.) The lines above say at which of these sizes JAX's way back was
# the faster, or needed less memory.
#
# ## 4. Forward mode
#
# A derivative by hand of the way *back* says nothing about the way forward. What JAX offers for it, `jax.custom_vjp`,
# gives forward mode up:

# %%
doubled = jax.custom_vjp(lambda x: 2 * x)
doubled.defvjp(lambda x: (2 * x, None), lambda _, dy: (2 * dy,))
try:
    jax.jvp(doubled, (1.0,), (1.0,))
except TypeError as error:
    print(str(error).split(",")[0].split(".")[0])

# %% [markdown]
# Here both modes are there: going forward, JAX's own derivative of the same forward pass; transposed, the hand-derived
# one. A Jacobian by a single number is a matter for forward mode; say, of every $h^t$ by a scale of the inputs:

# %% tags=["measured"]
with jax.enable_x64(True):
    params, xs = jax.tree.map(lambda array: array.astype(jnp.float64), drawn(Sizes(T=20, B=3, I=5, H=8)))
    scale = jnp.float64(1.0)
    forward = jax.jit(jax.jacfwd(lambda scale: unrolled()(params, scale * xs)))(scale)
    reverse = jax.jit(jax.jacrev(lambda scale: unrolled()(params, scale * xs)))(scale)
    of_jax = jax.jit(jax.jacfwd(lambda scale: plain(params, scale * xs)))(scale)
    for name, other in (("jacrev, manual", reverse), ("jacfwd of lax.scan", of_jax)):
        (error,) = leaf_errors([forward], [other]).values()
        print(f"jacfwd, manual, against {name:<20} largest error {error:.0e}; error <= 1e-12: {error <= 1e-12}")

    tangents = jax.tree.map(jnp.ones_like, params)

    def hessian_vector(run):
        gradient = jax.grad(lambda params: cost(run(params, xs)))
        return jax.jit(lambda: jax.jvp(gradient, (params,), (tangents,))[1])()

    errors = leaf_errors(hessian_vector(unrolled()), hessian_vector(plain))
    print(f"Hessian times a vector, jvp of grad: largest error {max(errors.values()):.0e}", end="; ")
    print(f"error <= 1e-12: {max(errors.values()) <= 1e-12}")

# %% [markdown]
# What they cost, against `vjp="auto"` (above one: ours takes longer):

# %% tags=["measured"]
args = drawn(BASE)
tangents = jax.tree.map(jnp.ones_like, args)


def of_jvp(run, args, tangents):
    return jax.jvp(run, args, tangents)


def of_hessian(run, args, tangents):
    return jax.jvp(jax.grad(lambda w, xs: cost(run(w, xs)), (0, 1)), args, tangents)[1]


for name, product in (("Jacobian times a vector", of_jvp), ("Hessian times a vector", of_hessian)):
    programs = {
        way: compiled(partial(product, run), args, tangents)
        for way, run in (("manual", unrolled(backend="scan")), ("auto", unrolled(vjp="auto")))
    }
    print(f"{name}: time, manual / auto = {ratios(programs, (args, tangents), 'auto')['manual']:.2f}")

# %% [markdown]
# The product with a Jacobian alone runs JAX's own derivative beside the forward pass, so there is nothing to be gained
# in it (`vjp="auto"` is the choice where nothing but forward mode is wanted). The product with a Hessian differentiates
# the hand-derived way back.
#
# ## 5. `jbptt.scan`: any body
#
# A cell that this library has never seen: Euler's steps of a differential equation with a network in it, written the
# way that flax writes cells, a function of (carry, x) to (carry, y).


# %%
class NeuralODE(NamedTuple):
    """h ← h + Δt (tanh([x, h] W₁ + b₁) W₂ − h)"""

    features: int
    hidden: int
    dt: float = 0.1

    def init(self, key, input_size):
        into, out = jax.random.split(key)
        size = input_size + self.features
        return {
            "W1": jax.random.normal(into, (size, self.hidden)) / size**0.5,
            "b1": jnp.zeros(self.hidden),
            "W2": jax.random.normal(out, (self.hidden, self.features)) / self.hidden**0.5,
        }

    def __call__(self, w, h, x):
        a = jnp.tanh(jnp.concatenate([x, h], -1) @ w["W1"] + w["b1"])
        h = h + self.dt * (a @ w["W2"] - h)
        return h, h


def of_ode(scan, ode, w, xs):
    _, hs = scan(partial(ode, w), jnp.zeros((*xs.shape[1:-1], ode.features), xs.dtype), xs)
    return hs


SCANS = {"lax.scan": lax.scan, "jbptt.scan": jbptt.scan}
odes = {
    "neural ODE, small weights": NeuralODE(features=32, hidden=64),
    "neural ODE, large weights": NeuralODE(features=64, hidden=128) if SHORT else NeuralODE(features=256, hidden=512),
}
ode = odes["neural ODE, small weights"]


def drawn_for(ode):
    xs = jax.random.normal(jax.random.key(2), (small.T, small.B, small.I))
    return ode.init(jax.random.key(1), small.I), xs


ode_args = drawn_for(ode)
for name, scan in SCANS.items():
    found = carried(scans(partial(of_ode, scan, ode), ode_args)[1], ode_args)
    print(f"{name:<12} carries, of the weights' shapes: {shapes(found.weights)}")

# %% [markdown]
# The name of the function is the only thing that changed. The gradients are the same:

# %% tags=["measured"]
errors = gradient_errors(partial(of_ode, jbptt.scan, ode), partial(of_ode, lax.scan, ode), *ode_args)
for name, error in errors.items():
    print(f"{name:<24} error {error:.0e}; error <= 1e-12: {error <= 1e-12}")

# %% [markdown]
# And the LSTM of section 1 is such a body too. What `jbptt.scan` gains is time, by the deferred product alone, the more
# the larger the weights; what it costs is memory, for what enters that product at every step. A way back derived for
# the cell itself, as in section 3, gains more:

# %% tags=["measured"]
bodies = {name: (partial(of_ode, ode=ode), drawn_for(ode)) for name, ode in odes.items()}
bodies["LSTM of section 1"] = lambda scan, w, xs: plain(w, xs, scan), drawn(BASE)
rows = []
for body, (function, body_args) in bodies.items():
    programs = {
        name: compiled(
            jax.value_and_grad(lambda w, xs, scan=scan, run=function: cost(run(scan, w=w, xs=xs)), (0, 1)), *body_args
        )
        for name, scan in SCANS.items()
    }
    of_lax = ratios(programs, body_args, "jbptt.scan")["lax.scan"]
    of_lax_scan, of_ours = (programs[name].memory_analysis().temp_size_in_bytes for name in SCANS)
    rows.append((body, in_bytes(jax.tree.leaves(body_args[0])), f"{of_lax:.2f}", f"{of_lax_scan / of_ours:.2f}"))
table(("lax.scan / jbptt.scan", "bytes of weights", "time", "temporary memory"), rows)
