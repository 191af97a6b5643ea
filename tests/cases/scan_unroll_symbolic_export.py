"""keras' layers take batch and time of None. jax.export of unroll with symbolic t and b: the default backend fails with
InconclusiveDimensionOperation (it compares t·b with a number to choose one); backend='xla' works (README: exported programs need it).
Expected: as with sizes that are known."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

p = jbptt.lstm.init(jax.random.key(0), 3, 8)
xs = jax.random.normal(jax.random.key(1), (7, 2, 3))
b, t = jax.export.symbolic_shape("b, t")
for backend in (None, "xla"):
    try:
        e = jax.export.export(jax.jit(lambda xs: jbptt.unroll(jbptt.lstm, p, xs, backend=backend)[1]))(
            jax.ShapeDtypeStruct((t, b, 3), jnp.float32)
        )
        print(
            backend,
            "OK"
            if np.allclose(e.call(xs), jbptt.unroll(jbptt.lstm, p, xs, vjp="auto")[1], atol=1e-5)
            else "FAIL: values",
        )
    except Exception as err:
        print(backend, "FAIL", type(err).__name__, str(err)[:100])
