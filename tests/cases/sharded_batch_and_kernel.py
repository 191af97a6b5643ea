"""jit of a batch that is sharded over the devices of a mesh with Auto axes, the usual data parallelism: where the C++
kernel is taken (by default, from T·B = 512 on), XLA gathers the whole batch on every device, each runs all of it, and the
result comes back replicated. backend="xla" keeps the shards. (Numbers are right in both.)

Expected: the batch's shards kept, as with the scan; or the scan taken there.
"""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jbptt

mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
key = jax.random.key(0)
params = jax.device_put(jbptt.lstm.init(key, 4, 8), NamedSharding(mesh, P()))
xs = jax.device_put(jax.random.normal(key, (40, 16, 4)), NamedSharding(mesh, P(None, "batch")))
specs = {}
for backend in ("xla", None):
    program = jax.jit(lambda p, x: jbptt.unroll(jbptt.lstm, p, x, backend=backend)[1]).lower(params, xs).compile()
    specs[backend] = program(params, xs).sharding.spec
    print(
        f"backend={backend}: hs come back as {specs[backend]}, all-gather in the program: {'all-gather' in program.as_text()}"
    )
sys.exit(specs[None] != specs["xla"] and jbptt.backends()["native"].available)
