"""How every task's weights move: optax's optimisers, by the settings of the same names."""

from typing import Any

import optax


def optimizer_of(settings: Any) -> optax.GradientTransformation:
    """optax's chain: clip the gradient's global norm, then adam or rmsprop at the scheduled rate."""
    rate = learning_rate(settings)
    step = {"adam": optax.adam, "rmsprop": optax.rmsprop}[settings.optimizer](rate)
    return optax.chain(optax.clip_by_global_norm(settings.clip), step)


def learning_rate(settings: Any) -> optax.Schedule:
    """The rate at each step: constant, or a cosine from the whole rate to a hundredth of it at the last step."""
    if settings.schedule == "constant":
        return optax.constant_schedule(settings.learning_rate)
    return optax.cosine_decay_schedule(settings.learning_rate, settings.steps, alpha=0.01)
