"""What a recurrence is given, and what it gives: static things, arrays, results.

T time, B batch (any number of batch axes, none included), I inputs, H units.
"""

from typing import Any, NamedTuple

import jax

from jbptt.cells.rule import Consts, Rule, State
from jbptt.feedforward.rows import is_index
from jbptt.recurrence.masks import Masks


class Wanted(NamedTuple):
    """Whose cotangents anybody asks for. The others need not be computed."""

    consts: bool = True
    xs: bool = True
    state: bool = True


class Spec(NamedTuple):
    """What is known of a recurrence before its arrays. Hashable.

    - `rule`: the cell's.
    - `reverse`: from the last step to the first.
    - `length`: how many steps there are where there is no input; else None.
    - `wanted`: of the backward pass.
    - `rest`: whether the other fields of every step's state are put out beside h.
    """

    rule: Rule
    reverse: bool = False
    length: int | None = None
    wanted: Wanted = Wanted()
    rest: bool = False


def steps_of(xs: jax.Array) -> tuple[int, ...]:
    """[T, B], of inputs [T, B, I] or integers [T, B]."""
    return xs.shape if is_index(xs) else xs.shape[:-1]


class Inputs(NamedTuple):
    """The arrays of a recurrence. Its cotangents have this form too.

    - `consts`: what all steps share.
    - `state`: what the first step starts from, each field [B, H].
    - `xs`: [T, B, I]; or integers [T, B], each in the place of a one-hot row; None, and the steps have no input.
    - `masks`: [T, ...], what happens between steps.
    - `reset_state`: like `state`, what a reset goes back to; None where there are no resets.
    """

    consts: Consts
    state: State
    xs: jax.Array | None = None
    masks: Masks = Masks()
    reset_state: State | None = None

    @property
    def given_xs(self) -> jax.Array:
        """xs, for a backend that is asked only where there are some, as all but the scan are."""
        assert self.xs is not None
        return self.xs

    @property
    def steps(self) -> tuple[int, ...]:
        """[T, B], of a backend's."""
        return steps_of(self.given_xs)


class Outputs(NamedTuple):
    """- `state`: after the last step.
    - `hs`: h after every step, [T, B, H]; where there is no step that of the one before it.
    - `rest`: the state after every step but for its h, which is None, [T, B, ...]; None unless `spec.rest` asks for it.
    """

    state: State
    hs: jax.Array
    rest: State = None


class SavedSteps(NamedTuple):
    """What every step keeps for the backward pass.

    - `saved`: what the rule's step saved, stacked: [T, ...].
    - `h`: every h as the rule made it, [T, B, H], where zoneout puts out another; else None.
    """

    saved: Any
    h: jax.Array | None
