"""Bach's chorales, of the music21 package's own corpus, as piano rolls: what is played next?

As in Boulanger-Lewandowski 2012 every chorale is transposed to no sharps and flats and looked at every quarter note,
its 88 keys being independent given what was before; the edition and the split are others.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbptt.app import shared_settings as shared
from jbptt.app.errors import UserError
from jbptt.app.tasks.sequences import midi, musicxml
from jbptt.app.tasks.sequences.outputs import bits_at_each_step
from jbptt.app.tasks.sequences.task import Batch, Problem, Task, in_parts, sampled
from jbptt.interop.writing import write_atomically

KEYS, LOWEST = 88, 21
LONGEST = 160
"""Quarters; what a few chorales have more is left out."""

VALIDATION, TEST = 50, 75
"""How many chorales are held out."""

HEARD, CONTINUED = 16, 64
"""Quarters of a held-out chorale, and of what the model goes on with."""


class Settings(NamedTuple):
    frames: Annotated[int, "Frames a quarter note."] = 1
    hidden: shared.Hidden = 128
    batch: Annotated[int, "Chorales a step."] = 16
    steps: shared.Steps = 1500
    dropout: shared.Dropout = 0.3


@cache
def rolls(frames: int) -> tuple[np.ndarray, ...]:
    """The chorales of four parts, [T, 88] of zeros and ones each, in the order of their names; none twice. Read in some
    five seconds, and once for all runs of a process."""
    found = {}
    for path in sorted(_corpus().glob("bach/bwv*.mxl")):
        score = musicxml.read(path)
        if score.parts == 4:
            roll = _roll(score, frames)
            found.setdefault(roll.tobytes(), roll)
    return tuple(found.values())


def _corpus():
    spec = find_spec("music21")  # importing it takes long, and is not needed
    if spec is None or spec.origin is None:
        raise UserError("this task needs the chorales of the package music21: pip install 'jbptt[tasks]'")
    return Path(spec.origin).parent / "corpus"


def _roll(score, frames):
    shift = -7 * score.fifths % 12  # to C major, or A minor
    shift -= 12 if shift > 6 else 0
    T = min(int(np.ceil(float(max(note.end for note in score.notes)) * frames)), LONGEST * frames)
    roll = np.zeros((T, KEYS), np.float32)
    for note in score.notes:
        first, last = (int(np.ceil(float(time) * frames)) for time in (note.start, note.end))
        roll[first:last, note.pitch + shift - LOWEST] = 1
    return roll


def padded(some: list[np.ndarray]) -> Batch:
    """Chorales side by side. Inputs [T, B, 88]: the frames before; targets [T, B, 88]."""
    lengths = np.array([len(roll) for roll in some], np.int32)
    targets = np.zeros((lengths.max(), len(some), KEYS), np.float32)
    for number, roll in enumerate(some):
        targets[: len(roll), number] = roll
    inputs = np.concatenate([np.zeros_like(targets[:1]), targets[:-1]])
    return Batch(jnp.asarray(inputs), jnp.asarray(targets), jnp.asarray(lengths))


def baselines(learned: list[np.ndarray], tested: list[np.ndarray]) -> dict[str, float]:
    """Nats a frame of who knows how often each key sounds, and how often it does after itself, and after silence; each
    count one larger than it is."""

    def before(roll):
        return np.concatenate([np.zeros_like(roll[:1]), roll[:-1]])

    now, then = (np.concatenate([f(roll) for roll in learned]) for f in (lambda roll: roll, before))
    of_now, of_then = (np.concatenate([f(roll) for roll in tested]) for f in (lambda roll: roll, before))

    def share(where):
        return (np.sum(now * where, axis=0) + 1) / (np.sum(where, axis=0) + 2)

    def nats(p):
        return float(-np.mean(np.sum(of_now * np.log(p) + (1 - of_now) * np.log1p(-p), axis=1)))

    after = np.where(of_then > 0, share(then), share(1 - then))
    return {"each key's frequency": nats(share(np.ones_like(now))), "each key given itself before": nats(after)}


def problem(settings: Any) -> Problem:
    every = rolls(settings.frames)
    order = np.random.default_rng(0).permutation(len(every))
    parts = np.split(order, [len(order) - VALIDATION - TEST, len(order) - TEST])
    learned, validated, tested = ([every[number] for number in part] for part in parts)
    output = bits_at_each_step(KEYS, "frame")
    return Problem(
        inputs=KEYS,
        output=output,
        draw=sampled(padded(learned), output, settings.batch),
        validation=in_parts(padded(validated), output),
        tests={"held out": in_parts(padded(tested), output)},
        baselines=baselines(learned, tested),
    )


def leave(run: Path, settings: Any, problem: Problem, params: dict) -> list[Path]:
    """Writes continuation.mid: how a held-out chorale begins, and how the model goes on."""
    (held_out, *_) = problem.tests["held out"]
    heard = held_out.targets[: HEARD * settings.frames, 0]
    key = jax.random.key(settings.seed)
    drawn = jax.jit(continued, static_argnums=(0, 3))(settings, params, heard, CONTINUED * settings.frames, key)
    path = run / "continuation.mid"
    write_atomically(path, midi.of_roll(np.concatenate([heard, drawn]) > 0, LOWEST, settings.frames))
    return [path]


def continued(settings: Any, params: dict, heard: jax.Array, frames: int, key: jax.Array) -> jax.Array:
    """The frames [frames, 88] that the model draws after those heard [T, 88]."""
    from jbptt.app.tasks.sequences.model import outputs  # optax, which the command line's help needs not

    def draw(key, z):
        return jax.random.bernoulli(key, jax.nn.sigmoid(z[-1, 0])).astype(jnp.float32)

    def step(carry, key):
        states, frame = carry
        states, z = outputs(settings, params, Batch(frame[None, None], None), at_end=False, states=states)
        return (states, draw(key, z)), frame

    start = jnp.concatenate([jnp.zeros_like(heard[:1]), heard])[:, None]
    states, z = outputs(settings, params, Batch(start, None), at_end=False)
    first, *keys = jax.random.split(key, frames + 1)
    return jax.lax.scan(step, (states, draw(first, z)), jnp.stack(keys))[1]


TASK = Task(
    "chorales",
    "Train a model to go on with Bach's chorales, and let it: continuation.mid.",
    Settings,
    problem,
    figure="nats",
    leave=leave,
)
