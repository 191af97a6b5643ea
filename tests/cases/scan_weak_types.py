"""SILENT CHANGE OF DTYPE. A carry that starts as a Python number stays weakly typed in lax.scan; in jbptt.scan it becomes
float32, so bfloat16 that meets it becomes float32. Also with no product in the body (where it "is lax.scan itself").
Expected: JAX's promotion rules (a Python scalar times bfloat16 is bfloat16), and a Python loop."""

import jax
import jax.numpy as jnp

import jbptt


def decayed(scan):  # a learning rate that decays, times bfloat16 gradients
    return scan(lambda lr, g: (lr * 0.5, lr * g), 1.0, jnp.ones((3, 2), jnp.bfloat16))[1]


lr, loop = 1.0, []
for g in jnp.ones((3, 2), jnp.bfloat16):
    loop.append(lr * g)
    lr *= 0.5
print("expected", loop[0].dtype)
for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
    out = decayed(scan)
    after = scan(lambda c, _: (c * 0.5, c), 1.0, None, length=3)[1] * jnp.ones(3, jnp.bfloat16)
    print(
        name,
        "in the body:",
        out.dtype,
        " after it:",
        after.dtype,
        "OK" if out.dtype == after.dtype == jnp.bfloat16 else "FAIL",
    )
