"""SILENT WRONG GRADIENT. A custom_vjp whose way back is not linear (clip, sign, round, noise), applied to a weight within
the body: lax.scan applies it at every step and adds; jbptt.scan adds and applies it once. Expected: NumPy, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt


@jax.custom_vjp
def clipped(w):
    return w


clipped.defvjp(lambda w: (w, None), lambda _, g: (jnp.clip(g, -0.1, 0.1),))

W, h0, T = np.array([[0.5, 0.2], [0.1, 0.4]], np.float32), np.array([1.0, 2.0], np.float32), 3
cost = lambda scan: lambda w: scan(lambda h, _: (h @ clipped(w), None), jnp.asarray(h0), None, length=T)[0].sum()

hs = [h0]
for _ in range(T):
    hs.append(hs[-1] @ W)
want, d = np.zeros((2, 2)), np.ones(2)
for t in reversed(range(T)):
    want += np.clip(np.outer(hs[t], d), -0.1, 0.1)
    d = d @ W.T
for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
    got = np.asarray(jax.grad(cost(scan))(jnp.asarray(W)))
    print(name, got.tolist(), "expected", want.round(6).tolist(), "OK" if np.allclose(got, want, atol=1e-6) else "FAIL")
