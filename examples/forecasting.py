"""Forecasts of padded series of different lengths: a two-layer bidirectional GRU with dropout reads what there is of
each, and says the next eight values. Training stops early, by the validation loss; the best parameters are saved,
loaded again, and compared with the forecast that a season repeats. A minute on two cores.

    python examples/forecasting.py --epochs 40 --file forecasting.safetensors
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jbptt

SEASON, NEXT = 12, 8  # steps of a season; values to forecast
LAYERS, H = [jbptt.Bidirectional(jbptt.gru, jbptt.gru)] * 2, 32
B, DROPOUT = 32, 0.2


def draw(rng, number):
    """(padded series [T, number, 1], their lengths [number], what comes after them [number, NEXT]): a trend, a season
    of a shape of its own, and noise; of 24 to 60 steps."""
    known, after = [], []
    for length in rng.integers(2 * SEASON, 5 * SEASON + 1, number):
        t = np.arange(length + NEXT)
        season = rng.normal(size=SEASON)[(t + rng.integers(SEASON)) % SEASON]
        series = season + rng.normal() * 0.02 * t + rng.normal(size=t.size) * 0.1
        known.append(series[:length, None].astype(np.float32))
        after.append(series[length:])
    xs, lengths = jbptt.pad(known)
    xs = jnp.pad(xs, [(0, 5 * SEASON - len(xs)), (0, 0), (0, 0)])  # one T for all batches, to compile once
    return xs, lengths, jnp.array(after, jnp.float32)


def forecast(params, xs, lengths, key=None):
    """What is said to come next, [B, NEXT]: of what both directions of the top layer end with, relative to the last
    value. Without a key, for evaluation, there is no dropout."""
    states, _ = jbptt.stack(LAYERS, params["stack"], xs, lengths=lengths, dropout=DROPOUT, key=key)
    ends = jnp.concatenate([state.h for state in states[-1]], axis=-1)
    last = jnp.take_along_axis(xs[..., 0], lengths[None] - 1, axis=0)[0]
    return last[:, None] + jbptt.dense(params["output"], ends)


def loss(params, xs, lengths, after, key=None):
    return jbptt.mse(forecast(params, xs, lengths, key), after)


def repeated(xs, lengths):
    """The forecast that the season just past comes again."""
    times = lengths - SEASON + np.arange(NEXT)[:, None]
    return jnp.take_along_axis(xs[..., 0], times, axis=0).T


def main(series: int = 2048, epochs: int = 40, patience: int = 5, file: str = "forecasting.safetensors") -> dict:
    """Trains, saves and loads. Returns the losses, those of validation one an epoch."""
    rng = np.random.default_rng(0)
    training, validation, test = draw(rng, series), draw(rng, 256), draw(rng, 256)
    key, key_stack, key_output = jax.random.split(jax.random.key(0), 3)
    params = {
        "stack": jbptt.stack_init(key_stack, LAYERS, 1, H),
        "output": jbptt.mlp_init(key_output, [2 * H, NEXT])[0],
    }
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    memory, of_validation = optimiser.init(params), jax.jit(loss)

    @jax.jit
    def epoch(params, memory, key):
        def step(carry, batch):
            params, memory = carry
            rows, key = batch
            xs, lengths, after = training
            cost, gradients = jax.value_and_grad(loss)(params, xs[:, rows], lengths[rows], after[rows], key)
            updates, memory = optimiser.update(gradients, memory)
            return (optax.apply_updates(params, updates), memory), cost

        key_order, key_dropout = jax.random.split(key)
        rows = jax.random.permutation(key_order, len(training[1])).reshape(-1, B)
        carry, costs = jax.lax.scan(step, (params, memory), (rows, jax.random.split(key_dropout, len(rows))))
        return *carry, costs.mean()

    validations = []
    for number, key_epoch in enumerate(jax.random.split(key, epochs), start=1):
        params, memory, cost = epoch(params, memory, key_epoch)
        validations.append(float(of_validation(params, *validation)))
        print(f"epoch {number}: training {cost:.4f}, validation {validations[-1]:.4f}")
        best = int(np.argmin(validations)) + 1
        if number == best:
            jbptt.save(file, params, {"layers": LAYERS, "epoch": number})
        elif number == best + patience:
            print(f"none better in {patience} epochs")
            break

    params, about = jbptt.load(file)
    assert about["layers"] == LAYERS
    print(f"the best: epoch {about['epoch']}")
    xs, lengths, after = test
    losses = {
        "validations": validations,
        "loaded": float(of_validation(params, *validation)),
        "test": float(of_validation(params, *test)),
        "repeated": float(jbptt.mse(repeated(xs, lengths), after)),
    }
    print(f"test {losses['test']:.4f}; the season repeated {losses['repeated']:.4f}; half the noise's variance 0.005")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2048, help="a multiple of 32, the batch")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--file", default="forecasting.safetensors")
    main(**vars(parser.parse_args()))
