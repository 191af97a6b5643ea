"""What the tests of the converters share: random layers of ours, and equality, of outputs and bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

T, B, I, H = 7, 3, 5, 6
XS = np.random.default_rng(0).standard_normal((T, B, I))

FORMS = {
    "one": lambda cell: [cell],
    "three": lambda cell: [cell, cell, cell],
    "bidirectional": lambda cell: [jbptt.Bidirectional(cell, cell), cell],
}


def random_params(layers, dtype="float64"):
    """Of these layers, biases too random."""
    params = jbptt.stack_init(jax.random.key(0), layers, I, H, dtype)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) / 2 for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def assert_same_bits(ours, others):
    """Equal in structure, dtypes, shapes and every bit, the signs of zeros among them."""
    assert jax.tree.structure(ours) == jax.tree.structure(others)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(others), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def assert_outputs(layers, params, states, hs):
    """That these are ours, in float64: hs [T, B, H], and the last state of each direction of each layer, as (h,) or
    (h, c)."""
    our_states, our_hs = jbptt.stack(layers, params, jnp.asarray(XS))
    np.testing.assert_allclose(our_hs, hs, rtol=0, atol=1e-13)
    pairs = [s if isinstance(layer, jbptt.Bidirectional) else (s,) for layer, s in zip(layers, our_states, strict=True)]
    ours = [direction for pair in pairs for direction in pair]
    for one, other in zip(ours, states, strict=True):
        for field, of_other in zip(one, other, strict=True):
            np.testing.assert_allclose(field, of_other, rtol=0, atol=1e-13)


def run_layers(layers, run, xs=XS):
    """(the last state of each direction, hs) of layers of another library.

    - `run(cell, xs) -> (state, hs)`: of one of its directions, xs [T, B, I]; a pair of them is a Bidirectional.
    """
    states = []
    for layer in layers:
        directions = layer if isinstance(layer, tuple) else (layer,)
        made = [run(one, xs[::-1] if n else xs) for n, one in enumerate(directions)]
        states += [state for state, _ in made]
        xs = np.concatenate([hs[::-1] if n else hs for n, (_, hs) in enumerate(made)], axis=-1)
    return states, xs
