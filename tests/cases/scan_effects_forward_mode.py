"""Effects in the body under forward mode. jit(jvp) with an ordered effect: KeyError. An unordered debug.callback fires 10 times for
5 steps under jvp, and again at every application of a linearised function. Expected: once a step (5)."""

import jax
import jax.numpy as jnp

import jbptt

W = jnp.eye(2) * 0.5


def run(scan, ordered, how):
    seen = []

    def f(c, _):
        jax.debug.callback(lambda v: seen.append(v), c[0], ordered=ordered)
        return c @ W, None

    cost = lambda c: scan(f, c, None, length=5)[0].sum()
    if how == "jvp":
        jax.jit(lambda c: jax.jvp(cost, (c,), (c,)))(jnp.ones(2))
    elif how == "linearize, applied twice":
        _, lin = jax.linearize(cost, jnp.ones(2))
        lin(jnp.ones(2))
        lin(jnp.ones(2))
    else:
        jax.jit(jax.grad(cost))(jnp.ones(2))
    jax.effects_barrier()
    return len(seen)


for how in ("grad", "jvp", "linearize, applied twice"):
    for ordered in (False, True):
        for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
            try:
                n = run(scan, ordered, how)
                print(how, "ordered" if ordered else "unordered", name, n, "OK" if n == 5 else "FAIL, expected 5")
            except Exception as e:
                print(how, "ordered" if ordered else "unordered", name, "FAIL", type(e).__name__, str(e)[:90])
