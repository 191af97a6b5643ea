"""Data parallelism on one CPU: each core a device of its own with a part of the batch, against one device with all.

    python -m benchmarks.data_parallel               # ten minutes
    python -m benchmarks.data_parallel --quick

The recipe, in a program of your own:

    import jax
    jax.config.update("jax_num_cpu_devices", os.cpu_count())      # before JAX touches a device

    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    everywhere = jax.P()                                          # the parameters, on every device
    by_batch = jax.P(None, "data")                                # xs [T, B, I], hs [T, B, H]: the batch axis
    step = jax.jit(jax.shard_map(loss_and_gradients, mesh=mesh, in_specs=(everywhere, by_batch), out_specs=...))

where `loss_and_gradients(params, xs)` sees its part of the batch and sums the gradients of the parameters over the
devices with `jax.lax.psum(gradients, "data")`. One caution, about automatic sums: by default shard_map sums the
gradient of a replicated argument itself when the derivative is taken inside it; this script turns that off
(`check_vma=False`) and sums by hand. B must be a multiple of the number of devices.

XLA's CPU products use all cores already; what a device to a core buys is that everything between the products runs
on all cores too, without a barrier at each step; what it costs is that each core reads all the weights.

Each arrangement runs in a process of its own, since the number of devices is fixed when a process begins; they take
turns. Outputs and gradients are checked against float64 first.
"""

import click
import jax
import jax.numpy as jnp

from benchmarks.contestants.roster import OURS, ROSTER
from benchmarks.measuring import agreement, machine, options, results
from benchmarks.measuring.remote import Worker
from benchmarks.measuring.rounds import interleave
from benchmarks.measuring.runners import JaxRunner
from benchmarks.problem import GRID, MODES, Problem, Sizes, random_problem

AXIS = "data"
QUICK = (Sizes(16, 4, 8, 16),)


class ShardedRunner(JaxRunner):
    """A JAX contestant with the batch sharded over `devices` CPU devices; the process must be a fresh one."""

    def __init__(self, name: str, problem: Problem, devices: int):
        jax.config.update("jax_num_cpu_devices", devices)
        super().__init__(ROSTER[name].build(problem.cell, jax.tree.map(jnp.asarray, problem.weights)), problem)
        self._mesh = jax.make_mesh((devices,), (AXIS,))
        everywhere, fields, series = jax.P(), jax.P(AXIS), jax.P(None, AXIS)
        output_specs = fields, series
        argument_specs = everywhere, series, fields
        self._in_specs = argument_specs, output_specs
        self._out_specs = {"output": output_specs, "gradient": argument_specs}
        self._args, self._cotangents = (
            tuple(jax.device_put(part, jax.NamedSharding(self._mesh, spec)) for part, spec in zip(*pair, strict=True))
            for pair in ((self._args, argument_specs), (self._cotangents, output_specs))
        )

    def _function(self, mode):
        local = super()._function(mode)

        def both(args, cotangents):
            found = local(args, cotangents)
            dparams, *others = found["gradient"]
            return found | {"gradient": (jax.lax.psum(dparams, AXIS), *others)}

        if mode == "gradients":
            return self._sharded(both, self._in_specs, self._out_specs)
        return self._sharded(local, self._in_specs[:1], self._out_specs["output"])

    def _sharded(self, function, in_specs, out_specs):
        return jax.shard_map(function, mesh=self._mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


@click.command(help=__doc__.split("\n")[0])
@options.cells
@click.option("--sizes", type=options.SizesList(), default=GRID, help="Default: the grid, where B allows it.")
@click.option("--devices", default=None, type=click.IntRange(2), help="Default: as many as cores.")
@click.option("--rounds", default=20, show_default=True, help="At most, a point and mode.")
@click.option("--seconds", default=20.0, show_default=True, help="To be spent timing a point.")
@options.out
@options.resume
@options.quick
def main(cells, sizes, devices, rounds, seconds, out, resume, quick):
    if quick:
        sizes, rounds, seconds = QUICK, 3, 1.0
    shared = machine.facts()
    devices = devices or max(2, shared["cores"])
    file = results.start("data_parallel", out, resume, {name: shared[name] for name in results.SAME})
    click.echo("| cell | T x B x I x H | mode | one device, ms | " + f"{devices} devices, ms | times as fast |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    with Worker() as one, Worker() as many:
        for size in sizes:
            if size.B % devices:
                click.echo(f"{size} is left out: {devices} devices do not divide B = {size.B}", err=True)
                continue
            for cell in cells:
                if file.has(cell=cell, **size._asdict()):
                    continue
                rows = measure(random_problem(cell, size), {1: one, devices: many}, rounds, seconds)
                file.add([shared | {"date": machine.now(), "cell": cell, **size._asdict()} | row for row in rows])
                for alone, sharded in zip(rows[::2], rows[1::2], strict=True):
                    times = f"{alone['ms']:.3g} | {sharded['ms']:.3g} | {alone['ms'] / sharded['ms']:.2f}"
                    click.echo(f"| {cell} | {size} | {alone['mode']} | {times} |")
    click.echo(file.path, err=True)


def measure(problem: Problem, workers: dict[int, Worker], rounds: int, seconds: float) -> list[results.Row]:
    """Rows in pairs, one device and many, for each mode. Raises click.ClickException if gradients disagree."""
    runners = {f"{n}": worker.hold(ShardedRunner, OURS, problem, n) for n, worker in workers.items()}
    agreement.require(runners, problem)
    rows = []
    for mode in MODES:
        facts = {n: runner.facts(mode) for n, runner in runners.items()}
        times = interleave(runners, mode, rounds=rounds, seconds=seconds / len(MODES))
        rows += [{"devices": n, "mode": mode, "contestant": OURS, **times[n]._asdict(), **facts[n]} for n in runners]
    return rows


if __name__ == "__main__":
    main()
