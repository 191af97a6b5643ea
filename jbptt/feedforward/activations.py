"""Activations: f, and f′ written by hand.

Backpropagation meets f′ after the forward pass, with a = f(z) at hand, so f′(z) is stated in a wherever it
can be: σ′ = a (1 − a) and tanh′ = 1 − a² need neither z nor another exponential. (So f′ has the digits that a has:
where a rounds to ±1 it is 0, as JAX's is.)
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import jax
import jax.numpy as jnp


@jax.tree_util.register_static
@dataclass(frozen=True)  # no NamedTuple: JAX's transformations take weak references to what they are given
class Activation:
    """An activation that can be called, a = f(z), and its derivative f′. In a pytree it has no leaves.

    - `name`: what messages call it.
    - `f`: a = f(z), elementwise, any shape.
    - `prime`: f′(z), elementwise, as a function of what the forward pass keeps:
    - `keeps`: "output", prime takes a = f(z); "input", prime takes z (for an f′ that a does not determine).
    """

    name: str
    f: Callable[[jax.Array], jax.Array]
    prime: Callable[[jax.Array], jax.Array]
    keeps: Literal["output", "input"] = "output"

    def __call__(self, z: jax.Array) -> jax.Array:
        return self.f(z)

    def kept(self, z: jax.Array, a: jax.Array) -> jax.Array:
        """What `prime` takes."""
        return a if self.keeps == "output" else z

    def __reduce__(self):  # JAX's functions cannot be pickled: the library's own activations are, by their names
        return (
            self.name
            if globals().get(self.name) is self
            else (
                Activation,
                tuple(getattr(self, field.name) for field in fields(self)),
            )
        )


def check_activation(name: str, activation: Activation) -> None:
    """Raises TypeError for an activation without its f′, ValueError for one that keeps neither a nor z."""
    if not (isinstance(activation, Activation) and callable(activation.f) and callable(activation.prime)):
        raise TypeError(
            f"{name} must be a jbptt.Activation, which carries f′ too, got {activation!r}: "
            "use e.g. jbptt.tanh, or jbptt.Activation(name, f, prime)"
        )
    if activation.keeps not in ("output", "input"):
        raise ValueError(f"{name}.keeps must be 'output' or 'input', got {activation.keeps!r}")


sigmoid = Activation("sigmoid", jax.nn.sigmoid, lambda a: a * (1 - a))
tanh = Activation("tanh", jnp.tanh, lambda a: 1 - a * a)
relu = Activation("relu", jax.nn.relu, lambda a: (a > 0).astype(a.dtype))
identity = Activation("identity", lambda z: z, jnp.ones_like)
