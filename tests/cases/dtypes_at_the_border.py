"""Conversions at the public boundary that do not agree with each other.

- Range checks see what is left of 64-bit integers after JAX has made them 32-bit: lengths 2^32 + 3, a class 2^32 + 1 and
  a token 2^32 + 1 are taken for 3, 1 and 1. Expected: ValueError, as for 40.
- A NumPy float64 state is refused ("state.h must be float32, got float64"), where float64 xs and params are taken.
  Expected: taken, like them.
- torch tensors as parameters: TypeError "Cannot interpret 'torch.float32' as a data type", without the argument's name,
  where a torch tensor as xs is taken. Expected: taken, or the argument named. (Skipped without torch.)
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jbptt

p, xs, bad = jbptt.lstm.init(jax.random.key(0), 3, 4), np.ones((5, 2, 3)), 0
model = jbptt.Seq2Seq((jbptt.gru,), (jbptt.gru,))
q = jbptt.seq2seq_init(jax.random.key(0), model, 7, 5, 8)
for name, run in {
    "lengths 2^32 + 3": lambda: jbptt.unroll(jbptt.lstm, p, xs, lengths=np.array([2**32 + 3, 5])),
    "class 2^32 + 1": lambda: jbptt.softmax_cross_entropy(jnp.zeros((1, 5)), np.array([2**32 + 1])),
    "token 2^32 + 1": lambda: jbptt.seq2seq(model, q, np.array([[2**32 + 1]]), np.array([[1]])),
}.items():
    try:
        run()
        bad += 1
        print(name, "taken")
    except ValueError as error:
        print(name, "refused:", error)
p64 = {name: np.asarray(leaf, np.float64) for name, leaf in p.items()}
runs = {
    "float64 NumPy xs and params": lambda: jbptt.unroll(jbptt.lstm, p64, xs),
    "float64 NumPy state": lambda: jbptt.unroll(jbptt.lstm, p, xs, jbptt.LSTMState(np.zeros((2, 4)), np.zeros((2, 4)))),
}
try:
    import torch

    runs["torch xs"] = lambda: jbptt.unroll(jbptt.lstm, p, torch.ones(5, 2, 3))
    runs["torch params"] = lambda: jbptt.unroll(jbptt.lstm, {k: torch.tensor(np.asarray(v)) for k, v in p.items()}, xs)
except ImportError:
    pass
for name, run in runs.items():
    try:
        run()
        print(name, "taken")
    except TypeError as error:
        bad += 1
        print(name, "TypeError:", str(error)[:100])
sys.exit(bool(bad))
