"""A product's precision=HIGHEST (float32 on a GPU or TPU) is JAX's in its gradients too: transposes of dot_general keep it. The weight
gradient that jbptt.scan forms has none. (On a CPU no number differs.) Expected, by JAX's rule: every dot_general has it."""

import jax
import jax.numpy as jnp

import jbptt


def dots(jaxpr):
    for e in jaxpr.eqns:
        if e.primitive.name == "dot_general":
            yield e.params["precision"]
        for p in e.params.values():
            for q in p if isinstance(p, (tuple, list)) else (p,):
                if hasattr(q, "jaxpr"):
                    yield from dots(q.jaxpr)
                elif hasattr(q, "eqns"):
                    yield from dots(q)


for precision in (jax.lax.Precision.HIGHEST, "BF16_BF16_F32_X3"):
    for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
        cost = lambda W: scan(
            lambda h, _: (jnp.tanh(jnp.dot(h, W, precision=precision)), None), jnp.ones(5), None, length=3
        )[0].sum()
        found = list(dots(jax.make_jaxpr(jax.grad(cost))(jnp.ones((5, 5))).jaxpr))
        missing = sum(p is None for p in found)
        print(precision, name, f"{missing} of {len(found)} dot_generals without it", "OK" if not missing else "FAIL")
