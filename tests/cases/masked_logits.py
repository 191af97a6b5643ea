"""softmax_cross_entropy with distributions as targets: a class that is masked out, logit −inf and target 0, makes the
value NaN (0 · −inf), while the hand-derived gradient is finite and right. With class indices both are right.

Expected: 0 log 0 = 0, so 0.5633 here (optax has safe_softmax_cross_entropy for this; PyTorch gives NaN too).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

logits, targets = jnp.array([[-jnp.inf, 0.0, 1.0]]), jnp.array([[0.0, 0.25, 0.75]])
value = jbptt.softmax_cross_entropy(logits, targets)
slope = jax.grad(lambda z: jbptt.softmax_cross_entropy(z, targets))(logits)
want = -(0.25 * (0 - np.log(1 + np.e)) + 0.75 * (1 - np.log(1 + np.e)))
print(
    f"value {float(value)}, want {want:.4f}; gradient {slope}; by index {jbptt.softmax_cross_entropy(logits, jnp.array([2]))}"
)
sys.exit(not abs(float(value) - want) < 1e-6)
