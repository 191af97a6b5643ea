"""jax.experimental.rnn.lstm: cuDNN's LSTM from JAX. NVIDIA GPUs only."""

import jax
import jax.numpy as jnp

from benchmarks.contestants.protocol import Contestant, LeftOut, Weights


def build(cell: str, weights: Weights) -> Contestant:
    if cell != "lstm":
        raise LeftOut("jax.experimental.rnn has an LSTM only")
    if jax.default_backend() != "gpu":
        raise LeftOut("cuDNN needs an NVIDIA GPU")
    if weights["U"].dtype != jnp.float32:
        raise LeftOut("jax.experimental.rnn is run in float32 only")
    from jax.experimental import rnn

    I, H = weights["U"].shape[0], weights["W"].shape[0]
    zeros = jnp.zeros_like(weights["b"])
    flat = jnp.concatenate([weights["U"].T.ravel(), weights["W"].T.ravel(), weights["b"], zeros])

    def function(flat, xs, state):
        h, c = (field[None] for field in state)  # [1, B, H]: layers first
        lengths = jnp.full(xs.shape[0], xs.shape[1], jnp.int32)
        hs, h, c = rnn.lstm(xs, h, c, flat, lengths, I, H, 1, 0.0, False)
        return (h[0], c[0]), hs

    def canonical(dflat):
        dU, dW, db, _ = jnp.split(dflat, [I * 4 * H, (I + H) * 4 * H, (I + H) * 4 * H + 4 * H])
        return {"U": dU.reshape(4 * H, I).T, "W": dW.reshape(4 * H, H).T, "b": db}

    note = "batch-major; a second bias [4·H] with a gradient of its own"
    return Contestant(function, flat, canonical, batch_major=True, note=note)
