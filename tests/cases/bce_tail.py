"""binary_cross_entropy of confident, right predictions: softplus(z) − t z cancels, so the value is off by 1% at z = 10 and
0 from z = 16 on, and the gradient is 0 from z = 17 on, though both are ordinary float32 numbers.

Expected (t = 1): C = log1p(exp(−z)), ∂C/∂z = −1/(1 + exp(z)), to a few 1e-7 relative; what optax and PyTorch give.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

bad = 0
for z in (6.0, 10.0, 14.0, 17.0, 20.0, 40.0):
    want, want_slope = np.log1p(np.exp(-z)), -1 / (1 + np.exp(z))
    f = lambda z: jbptt.binary_cross_entropy(z, jnp.ones(1))
    value, slope = float(f(jnp.full(1, z))), float(jax.grad(f)(jnp.full(1, z))[0])
    mirrored = float(jbptt.binary_cross_entropy(jnp.full(1, -z), jnp.zeros(1)))  # the same number by symmetry
    off, off_slope = abs(value - want) / want, abs(slope - want_slope) / -want_slope
    bad += off > 1e-5
    print(
        f"z {z:4}: value {value:.4e} want {want:.4e} (off {off:.0e}); slope {slope:.4e} want {want_slope:.4e} "
        f"(off {off_slope:.0e}); C(-z, 0) = {mirrored:.4e}"
    )
sys.exit(bool(bad))
