"""A character model in sixty lines: trained by truncated backpropagation through time with the state carried on, on the
source code of Python's standard library; then it writes. Two minutes on two cores: 2.2 bits a character.

    python examples/characters.py --steps 2000
"""

import argparse
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbptt

CELL, H = jbptt.lstm, 256
T, B = 64, 32  # steps from update to update; streams of text at once


def main(steps: int = 2000) -> dict:
    text = b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py")))
    alphabet, tokens = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    end = len(alphabet)  # a token that no text has: writing goes on
    streams = tokens[: len(tokens) // B * B].reshape(B, -1).T.astype(np.int32)  # [time, B], one stream a column
    training, held_out = streams[:-1000], streams[-1000:]
    params = jbptt.network_init(jax.random.key(0), CELL, end + 1, H, end + 1)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(4e-3, steps)))

    def loss(params, state, chars):  # the integers stand for one-hot rows
        state, logits = jbptt.mimo(CELL, params, chars[:-1], state)
        return jbptt.softmax_cross_entropy(logits, chars[1:]), state

    @jax.jit
    def update(params, memory, state, chars):
        (nats, state), gradients = jax.value_and_grad(loss, has_aux=True)(params, state, chars)
        updates, memory = optimiser.update(gradients, memory)
        return optax.apply_updates(params, updates), memory, state, nats / np.log(2)

    memory, state = optimiser.init(params), CELL.initial_state(params["cell"], (B,))
    for step in range(steps):
        start = step % (len(training) // T) * T
        params, memory, state, bits = update(params, memory, state, training[start : start + T + 1])
        if step % max(1, steps // 10) == 0:
            print(f"step {step}: {bits:.2f} bits a character")
    bits = float(jax.jit(loss)(params, state, held_out)[0] / np.log(2))
    print(f"held out: {bits:.2f} bits a character, {np.log2(end):.2f} if each were as likely")

    def next(state, token):  # one step: what follows each of the tokens
        state, h = jbptt.step(CELL, params["cell"], state, token)
        return state, jbptt.dense({"w": params["V"], "b": params["c"]}, h)

    start, state = np.searchsorted(alphabet, [ord("\n")]), CELL.initial_state(params["cell"], (1,))
    written = jbptt.sampled(next, state, jnp.asarray(start), jax.random.key(1), end=end, steps=400, temperature=0.7)
    written = bytes(alphabet[np.asarray(written.tokens[:, 0]).clip(max=end - 1)]).decode(errors="replace")
    print(written)
    return {"bits": bits, "characters": end, "written": written}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    main(**vars(parser.parse_args()))
