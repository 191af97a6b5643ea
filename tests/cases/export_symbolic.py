"""jax.export of unroll with a symbolic batch: backend=None, the default, compares T·B with a number and raises
InconclusiveDimensionOperation. backend="xla" exports, and so does a plain scan.

Expected: where the size is not known, the scan.
"""

import sys

import jax
import jax.numpy as jnp
from jax import export

import jbptt

params = jbptt.lstm.init(jax.random.key(0), 4, 8)
T, B = export.symbolic_shape("t, b")
bad = 0
for backend in ("xla", None):
    for shape in ((40, B, 4), (T, B, 4)):
        try:
            program = export.export(jax.jit(lambda p, x: jbptt.unroll(jbptt.lstm, p, x, backend=backend)[1]))(
                params, jax.ShapeDtypeStruct(shape, jnp.float32)
            )
            print(backend, shape, "ok", program.out_avals[0])
        except Exception as error:
            bad += 1
            print(backend, shape, type(error).__name__, str(error).splitlines()[0])
sys.exit(bool(bad))
