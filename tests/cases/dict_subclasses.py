"""Parameters in a subclass of dict, OrderedDict or defaultdict: the forward pass takes them and vjp="auto" differentiates
them; the hand-derived gradient ends in JAX's "Custom VJP bwd rule must produce an output with the same container".

Expected: a gradient in the same container, as with "auto" (or a refusal that names the argument, at the call).
"""

import sys
from collections import OrderedDict, defaultdict

import jax
import jax.numpy as jnp

import jbptt

key, bad = jax.random.key(0), 0
lstm, layer = jbptt.lstm.init(key, 3, 4), {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
for make in (OrderedDict, lambda d: defaultdict(None, d)):
    for vjp in ("auto", "manual"):
        for name, params, run in (
            ("unroll", lstm, lambda p: jbptt.unroll(jbptt.lstm, p, jnp.ones((5, 2, 3)), vjp=vjp)[1].sum()),
            ("dense", layer, lambda p: jbptt.dense(p, jnp.ones((5, 3)), vjp=vjp).sum()),
        ):
            try:
                print(name, vjp, type(jax.grad(run)(make(params))).__name__)
            except TypeError as error:
                bad += 1
                print(name, vjp, type(make(params)).__name__, "TypeError:", str(error)[:90])
sys.exit(bool(bad))
