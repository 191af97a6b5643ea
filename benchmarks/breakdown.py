"""Where the time of an LSTM's value and gradients goes, part by part, against what the machine could do at best.

    python -m benchmarks.breakdown                   # two minutes
    python -m benchmarks.breakdown --quick

Each part of the hand-derived pass is compiled by itself, on the arrays that it has in the whole. Its floor is the
larger of its products at the machine's peak, and of the bytes that it must read and write once at the machine's
bandwidth. Parts by themselves may be faster or slower than in the whole, which is timed beside them.
"""

import time
from functools import partial
from typing import NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.peak import jax_peak_gflops
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import Sizes, random_problem
from jbptt.autodiff import Residuals
from jbptt.backends.scan import SCAN
from jbptt.cells.rule import Consts, StepResiduals
from jbptt.comparison.pair import value_and_gradients
from jbptt.recurrence.inputs import Inputs, Outputs, Spec

POINTS = (Sizes(256, 4, 64, 128), Sizes(128, 32, 128, 128), Sizes(64, 8, 1024, 1024))
QUICK = (Sizes(8, 2, 3, 4),)
FLOAT = 4  # bytes


class Part(NamedTuple):
    """`function(*args)`; what its products cost, and the bytes of what it reads and writes, each array once."""

    name: str
    function: object
    args: tuple
    flops: float
    bytes: float


@click.command(help=__doc__.split("\n")[0])
@click.option("--sizes", type=options.SizesList(), default=POINTS, help="Default: three of the grid.")
@click.option("--rounds", default=30, show_default=True)
@options.out
@options.quick
def main(sizes, rounds, out, quick):
    sizes, rounds = (QUICK, 3) if quick else (sizes, rounds)
    file = results.start("breakdown", out, False, {})
    shared = machine.facts() | {
        "peak_gflops": jax_peak_gflops(n=256 if quick else 2048),
        "bandwidth_gbytes": bandwidth(2**16 if quick else 2**26),
    }
    click.echo(f"peak {shared['peak_gflops']:.0f} GFLOP/s, bandwidth {shared['bandwidth_gbytes']:.1f} GB/s\n")
    click.echo("| T x B x I x H | part | ms | floor, ms | of the floor |\n| --- | --- | --- | --- | --- |")
    for size in sizes:
        parts = parts_of(size)
        rows = []
        for part, ms in zip(parts, medians(parts, rounds), strict=True):
            products, memory = part.flops / shared["peak_gflops"] / 1e6, part.bytes / shared["bandwidth_gbytes"] / 1e6
            row = {"part": part.name, "ms": ms, "products_ms": products, "memory_ms": memory}
            rows.append(shared | {"date": machine.now(), **size._asdict()} | row)
            floor = max(products, memory)
            bound = "products" if products > memory else "memory"
            click.echo(f"| {size} | {part.name} | {ms:.2f} | {floor:.2f} ({bound}) | {floor / ms:.0%} |")
        file.add(rows)
    click.echo(file.path, err=True)


def parts_of(size: Sizes) -> list[Part]:
    """The whole, and its parts in their order."""
    problem = random_problem("lstm", size)
    params, xs, state, (dstate, dhs) = jax.tree.map(jnp.asarray, tuple(problem[2:]))
    state, dstate = jbptt.LSTMState(*state), jbptt.LSTMState(*dstate)
    rule = jbptt.lstm.rule
    zs = rule.project(Consts(params), xs)
    unprojected = Spec(
        rule._replace(
            project=lambda consts, zs: zs,
            project_vjp=lambda consts, zs, deltas: (Consts({"U": consts.params["U"]}), deltas),
            weight_vjp=lambda consts, residuals, deltas: consts,
        )
    )
    consts, inputs = Consts(params), Inputs(Consts(params), state, zs)
    forward = jax.jit(partial(SCAN.forward_residuals, unprojected))
    outputs, steps = forward(inputs)
    deltas = zs

    def whole(params, xs, state):
        return jbptt.unroll(jbptt.lstm, params, xs, state, backend="scan")

    def back(inputs, outputs, steps, dstate, dhs):
        d = SCAN.backward(unprojected, Residuals((inputs,), outputs, steps), Outputs(dstate, dhs))
        return d.state, d.xs

    def weights(outputs, steps, deltas):
        return rule.weight_vjp(consts, StepResiduals(outputs.hs, outputs.hs, steps.saved), deltas)

    T, B, I, H = size
    rows, gate = T * B, 4 * H
    saved = 7 * rows * H  # six arrays, and h
    return [
        Part(
            "the whole",
            value_and_gradients(whole),
            ((params, xs, state), (dstate, dhs)),
            3 * 2 * rows * gate * (I + H),
            FLOAT * (rows * (2 * I + 4 * gate + 2 * H) + 2 * saved),
        ),
        Part("x U", rule.project, (consts, xs), 2 * rows * I * gate, FLOAT * rows * (I + gate)),
        Part("forward scan", forward, (inputs,), 2 * rows * H * gate, FLOAT * (rows * gate + saved)),
        Part(
            "reverse scan",
            back,
            (inputs, outputs, steps, dstate, dhs),
            2 * rows * gate * H,
            FLOAT * (saved + rows * (H + gate)),
        ),
        Part("∂U and dx", rule.project_vjp, (consts, xs, deltas), 4 * rows * I * gate, FLOAT * rows * (2 * I + gate)),
        Part("∂W and ∂b", weights, (outputs, steps, deltas), 2 * rows * H * gate, FLOAT * rows * (H + gate)),
    ]


def medians(parts: list[Part], rounds: int) -> list[float]:
    """Milliseconds of each, in turns."""
    programs = {part.name: partial(jax.jit(part.function).lower(*part.args).compile(), *part.args) for part in parts}
    times = in_turns(programs, rounds)
    return [times[part.name]["ms"] for part in parts]


def bandwidth(length: int) -> float:
    """10⁹ bytes a second, read and written, of y = x + 1 on arrays beyond the caches: the best of five."""
    x = jnp.ones(length, jnp.float32)
    add = jax.jit(lambda x, room: x + 1, donate_argnums=1)  # into memory that is there already
    best, room = np.inf, jnp.zeros_like(x)
    for _ in range(6):
        start = time.perf_counter()
        room = jax.block_until_ready(add(x, room))
        best = min(best, time.perf_counter() - start)
    return 2 * FLOAT * length / best / 1e9


if __name__ == "__main__":
    main()
