"""A scan of a linear body is linear: jax.linear_transpose, and lax.custom_linear_solve / cg that need it. jbptt.scan raises
NotImplementedError where it defers a product. Expected: (A^T)^n by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

A = np.array([[0.5, 0.2], [0.1, 0.4]], np.float32)
want = np.linalg.matrix_power(A.T, 3) @ np.ones(2)
for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
    f = lambda c: scan(lambda c, _: (jnp.asarray(A) @ c, None), c, None, length=3)[0]
    try:
        (got,) = jax.linear_transpose(f, jnp.ones(2))(jnp.ones(2))
        print(name, got, "expected", want, "OK" if np.allclose(got, want) else "FAIL")
    except Exception as e:
        print(name, "FAIL", type(e).__name__, str(e)[:120], "expected", want)
