"""jax.disable_jit() is for debugging: lax.scan is then a Python loop on values, so that the body may branch on them, print, and
break into a debugger. jbptt.scan traces it all the same. Expected: NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

W, xs = np.array([[0.5, 0.2], [0.1, 0.4]], np.float32), np.array([1.0, -1.0, 2.0], np.float32)
want = np.ones(2) @ W @ W  # two of three are positive
for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
    with jax.disable_jit():
        try:
            got, _ = scan(lambda c, x: (c @ W if x > 0 else c, None), jnp.ones(2), xs)
            print(name, got, "expected", want, "OK" if np.allclose(got, want) else "FAIL")
        except Exception as e:
            print(name, "FAIL", type(e).__name__, str(e)[:80].replace("\n", " "), "expected", want)
