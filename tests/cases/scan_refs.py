"""Mutable arrays (jax.new_ref): closed over, in xs, made in the body, as lax.scan takes them. jbptt.scan raises, also where the
body has no product. (jax's stateful RNG and jax.experimental.error_check, which are made of Refs, fail in it too.)
Expected: NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

W, c0 = np.array([[0.5, 0.2], [0.1, 0.4]], np.float32), np.array([1.0, 2.0], np.float32)
cs = [c0]
for _ in range(3):
    cs.append(cs[-1] @ W)


def closed_over(scan):
    ref = jax.new_ref(jnp.zeros(2))

    def f(c, _):
        ref[...] += c
        return c @ W, None

    scan(f, jnp.asarray(c0), None, length=3)
    return ref[...], sum(cs[:3])


def no_product(scan):
    ref = jax.new_ref(jnp.zeros(2))

    def f(c, _):
        ref[...] += c
        return c + 1, None

    scan(f, jnp.asarray(c0), None, length=3)
    return ref[...], 3 * c0 + 3


def in_xs(scan):
    ref = jax.new_ref(jnp.zeros((3, 2)))

    def f(c, x):
        x[...] = c
        return c @ W, None

    scan(f, jnp.asarray(c0), ref)
    return ref[...], np.stack(cs[:3])


def in_the_body(scan):
    def f(c, _):
        ref = jax.new_ref(c)
        ref[...] = ref[...] @ W
        return ref[...], None

    return jax.jit(lambda c: scan(f, c, None, length=3)[0])(jnp.asarray(c0)), cs[3]


for make in (closed_over, no_product, in_xs, in_the_body):
    for name, scan in (("lax.scan", jax.lax.scan), ("jbptt.scan", jbptt.scan)):
        try:
            got, want = make(scan)
            print(make.__name__, name, "OK" if np.allclose(got, want, atol=1e-6) else f"FAIL {got} expected {want}")
        except Exception as e:
            print(make.__name__, name, "FAIL", type(e).__name__, str(e)[:110].replace("\n", " "))
