"""Products with Jacobians and Hessians, hand-derived and JAX's: forward mode, and both modes together.

    python -m benchmarks.forward_mode                # a minute on two cores
    python -m benchmarks.forward_mode --quick

By the parameters and xs of a layer. Times are compiled, in turns.
"""

from functools import partial

import click
import jax
import jax.numpy as jnp
from jax import lax

import jbptt
from benchmarks.measuring import machine, options, results
from benchmarks.measuring.rounds import in_turns
from benchmarks.problem import CELLS as NAMES, Sizes
from jbptt.cells.table import CELLS

POINTS = (Sizes(256, 4, 64, 128), Sizes(128, 32, 128, 128))
QUICK = (Sizes(8, 2, 3, 4),)


def gradient(run, args, tangents):
    return jax.grad(cost_of(run), (0, 1))(*args)


def jacobian_vector(run, args, tangents):
    return jax.jvp(run, args, tangents)


def hessian_vector(run, args, tangents):
    return jax.jvp(jax.grad(cost_of(run), (0, 1)), args, tangents)[1]


def gauss_newton_vector(run, args, tangents):
    return jax.vjp(run, *args)[1](2 * jax.jvp(run, args, tangents)[1])


def cost_of(run):
    return lambda *args: jnp.sum(run(*args) ** 2)


def jacobian_vectors(run, args, tangents):
    """Twenty, of one linearisation, as conjugate gradients need them."""
    _, linear = jax.linearize(run, *args)

    def of_another(total, factor):  # none alike, or one would do for all
        return total + linear(*jax.tree.map(lambda tangent: factor * tangent, tangents)), None

    return lax.scan(of_another, jnp.zeros_like(run(*args)), jnp.arange(1.0, 21.0))


PRODUCTS = (gradient, jacobian_vector, jacobian_vectors, hessian_vector, gauss_newton_vector)


@click.command(help=__doc__.split("\n")[0])
@click.option("--rounds", default=25, show_default=True)
@options.out
@options.quick
def main(rounds, out, quick):
    file = results.start("forward_mode", out, False, {})
    shared = machine.facts()
    click.echo("| | product | manual, ms | auto, ms | auto / manual |\n|---|---|---:|---:|---:|")
    for name in NAMES:
        for size in QUICK if quick else POINTS:
            rows = measure(CELLS[name], size, 3 if quick else rounds)
            file.add([shared | {"date": machine.now(), "cell": name, **size._asdict()} | row for row in rows])
            for manual, auto in zip(rows[::2], rows[1::2], strict=True):
                ratio = auto["ms"] / manual["ms"]
                click.echo(
                    f"| {name} {size} | {manual['product']} | {manual['ms']:.3g} | {auto['ms']:.3g} | {ratio:.2f} |"
                )
    click.echo(file.path, err=True)


def measure(cell, size: Sizes, rounds: int) -> list[results.Row]:
    key = jax.random.key(0)
    args = cell.init(key, size.I, size.H), jax.random.normal(key, (size.T, size.B, size.I))
    tangents = jax.tree.map(jnp.ones_like, args)
    programs = {}
    for product in PRODUCTS:
        for vjp in ("manual", "auto"):
            run = partial(hs_of, cell, vjp)
            program = jax.jit(partial(product, run)).lower(args, tangents).compile()
            programs[product.__name__, vjp] = partial(program, args, tangents)
    times = in_turns(programs, rounds)
    return [{"product": product, "vjp": vjp} | of_program for (product, vjp), of_program in times.items()]


def hs_of(cell, vjp, params, xs):
    return jbptt.unroll(cell, params, xs, vjp=vjp, backend="xla")[1]


if __name__ == "__main__":
    main()
