# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attention, seen at dates
#
# A network that turns one sequence into another reads the source with one recurrent network, the *encoder*, and writes
# the target with another, the *decoder*. All that the decoder gets to know of the source is the encoder's last state,
# of one size however long the source is (Sutskever et al. 2014; Cho et al. 2014). With *attention* (Bahdanau, Cho and
# Bengio, 2015) it looks at every step of the encoder again, each time it writes. Here both learn the same task on the
# same batches: dates as people write them into ISO 8601, the task of `jbptt train dates`, by its functions.
#
# 1. The task
# 2. The two networks
# 3. Attention, forward and back
# 4. Training: learning curves, and accuracy against the length of the source
# 5. Several dates in one source
# 6. Where it looks
#
# `S` is the length of the source, `T` of the target, `B` the batch, `H` hidden units.
#
# *This notebook is made from `attention.py` by `python tests/test_notebook.py attention`, which needs
# `pip install -e '.[test]'`; the tests execute it again at smaller sizes (`JBPTT_SHORT=1`), where the networks have
# learnt next to nothing. Cells tagged `measured` print what depends on training, or on the version of the locale data.*

# %%
import inspect
import io
import math
import os
import random
import textwrap
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

import jbptt
from jbptt.app.tasks.translation import model
from jbptt.app.tasks.translation.dates import dates_data
from jbptt.app.tasks.translation.pairs import Data, Encoding, Pair, Vocabulary
from jbptt.app.tasks.translation.settings import Settings
from jbptt.cells import attention
from jbptt.comparison.pair import gradient_errors

SHORT = bool(os.environ.get("JBPTT_SHORT"))
SETTINGS = Settings(hidden=16, batch=16, steps=20) if SHORT else Settings(hidden=96, steps=600)
TESTED = 60 if SHORT else 1000
NAMES = {"bahdanau": "with attention", "none": "without"}


def table(heading, rows):
    """Prints rows under their headings, in columns."""
    lines = [heading, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heading))]
    for first, *others in lines:
        print(
            f"{first:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)),
            sep="  ",
        )


def show(figure, alt):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100, metadata={"Software": None})
    display(Image(image.getvalue(), alt=alt))


def quote(function):
    """Shows a function of the library."""
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    display(Markdown(f"```python\n# {function.__module__}\n{code}\n```"))


# %% [markdown]
# ## 1. The task
#
# Days of a hundred years in twelve locales and five formats of the Unicode Consortium's data. A text that could be two
# dates (03/04/1998) is left out. Days that are tested on are held out: neither network was shown them in any way of
# writing.

# %% tags=["measured"]
dates = dates_data(SETTINGS.batch, SETTINGS.seed)
MOST, SHORT_DATE, DATE = 4, 10, len("1998-03-03")  # of section 5: how many dates in a source, of how many characters
LISTS_ENCODING = Encoding(
    Vocabulary.of([*dates.encoding.source.tokens, ";"], words=False),
    Vocabulary.of(["0123456789- "], words=False),
    source_size=MOST * (SHORT_DATE + 2) - 2,
    target_size=MOST * (DATE + 1),
)
if SHORT:  # then one serves both sections, and half as much is compiled
    dates = dates._replace(encoding=LISTS_ENCODING)
for pair in dates.of_step(0)[:10]:
    print(f"{pair.source:<36} {pair.target}")

# %% [markdown]
# ## 2. The two networks
#
# Tokens are characters. The encoder is a bidirectional GRU, the decoder a GRU; they differ in the decoder's cell alone
# (`top`):

# %%
quote(model.model_of)

# %% [markdown]
# Both are trained on the same batches, by teacher forcing: whatever the decoder would have written, its next input is
# the target's token. To be tested it writes by itself, taking the likeliest token each time.

# %% tags=["measured"]
start = model.init(SETTINGS, dates.encoding)
for kind, learner in start.learners.items():
    print(f"{NAMES[kind]:<15} {sum(leaf.size for leaf in jax.tree.leaves(learner.params)):,} parameters")

# %% [markdown]
# ## 3. Attention, forward and back
#
# At each step a query $q$, made of the decoder's $h$, meets a key $k_s$ of every position $s$ of the source, made of
# the encoder's $h^s = m_s$; from that come weights that sum to 1, and the mean of the $m_s$ by these weights is given
# to the decoder's cell beside its input:
#
# $$e_s = v \cdot \tanh(q + k_s) \qquad \alpha = \mathrm{softmax}(e) \qquad c = \sum_s \alpha_s m_s$$

# %%
quote(attention.attend)

# %% [markdown]
# Back, from $dc$. The softmax's Jacobian is $\mathrm{diag}(\alpha) - \alpha \alpha^{\mathsf T}$:
#
# $$d\alpha_s = dc \cdot m_s \qquad de_s = \alpha_s \Bigl(d\alpha_s - \sum_r \alpha_r \, d\alpha_r\Bigr) \qquad
#   dq = v \odot \sum_s de_s \odot \tanh'(q + k_s)$$
#
# Only $dq$ goes on to the step before. The gradients of $v$, of the keys and of the memory,
# $\partial C / \partial m_s = \sum_t \alpha_s^t \, dc^t$, are sums over all steps, formed once after the way back, as
# those of all weights are.

# %%
quote(attention.attend_vjp)
quote(attention.memory_gradient)

# %% [markdown]
# The whole network, of small sizes, in float64 against `jax.grad` of the same forward, by every parameter:

# %%
small = model.model_of(Settings(hidden=5), "bahdanau")
params = jbptt.seq2seq_init(jax.random.key(0), small, source_size=7, target_size=6, hidden_size=5)
source = jax.random.randint(jax.random.key(1), (9, 3), 0, 7)
target = jax.random.randint(jax.random.key(2), (4, 3), 0, 6)


def logits(params, vjp):
    return jbptt.seq2seq(small, params, source, target, source_lengths=jnp.array([9, 4, 6]), vjp=vjp)


errors = gradient_errors(partial(logits, vjp="manual"), partial(logits, vjp="auto"), params)
print(f"{len(errors) - 1} arrays, error <= 1e-12: {max(errors.values()) <= 1e-12}")

# %% [markdown]
# ## 4. Training: learning curves, and accuracy against the length of the source

# %% tags=["measured"]
train_step = jax.jit(model.train_step, static_argnames="settings", donate_argnames="carry")
scored = jax.jit(model.score, static_argnames=("settings", "attention"))
BATCH = min(TESTED, 250)


class Result(NamedTuple):
    """Of a network on some pairs: which it wrote exactly, what it wrote, and its nats a token."""

    exact: np.ndarray
    written: list[str]
    nats: float


def test(settings, kind, params, encoding, pairs):
    batches = [encoding.batch(pairs[n : n + BATCH]) for n in range(0, len(pairs), BATCH)]
    scores = [jax.device_get(scored(settings, kind, params, batch)) for batch in batches]
    return Result(
        np.concatenate([score.exact for score in scores]),
        [encoding.target.text(row) for score in scores for row in score.written.T],
        float(sum(score.nats for score in scores) / sum(score.tokens for score in scores)),
    )


def train(settings, data, reports=10):
    """(the parameters of each network, {kind: {step: exact match on validation pairs}})."""
    carry, curves = model.init(settings, data.encoding), {kind: {} for kind in NAMES}
    for number in range(settings.steps + 1):
        if number % (settings.steps // reports) == 0:
            for kind, learner in carry.learners.items():
                result = test(settings, kind, learner.params, data.encoding, data.validation[:BATCH])
                curves[kind][number] = float(result.exact.mean())
        if number < settings.steps:
            carry = train_step(settings, carry, data.encoding.batch(data.of_step(number)), number)
    return {kind: learner.params for kind, learner in carry.learners.items()}, curves


params, curves = train(SETTINGS, dates)
held_out = dates.tests["held-out days"][:TESTED]
results = {kind: test(SETTINGS, kind, of, dates.encoding, held_out) for kind, of in params.items()}

# %% [markdown]
# A share of a few tests is not known well: beside each stands its 95% interval (Wilson, 1927).


# %% tags=["measured"]
def interval(right, n, z=1.96):
    """Wilson's: the shares for which so many right of n would not be far out."""
    centre, spread = right / n + z**2 / (2 * n), z * math.sqrt(right * (n - right) / n**3 + z**2 / (4 * n**2))
    lower, upper = (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
    return min(max(lower, 0.0), right / n), max(min(upper, 1.0), right / n)  # whatever the rounding


def by_group(groups, exact):
    """{group: (share, lower, upper, n)} of what was written exactly."""
    found = {}
    for group in dict.fromkeys(sorted(groups)):
        of_group = exact[np.asarray(groups) == group]
        right, n = int(of_group.sum()), len(of_group)
        found[group] = (right / n, *interval(right, n), n)
    return found


def draw_curves(panel, curves):
    for kind, of_steps in curves.items():
        panel.plot(*zip(*of_steps.items(), strict=True), "o-", markersize=4, label=NAMES[kind])
    panel.set(xlabel="step", ylabel="exact match on held-out days", ylim=(-0.02, 1.02))
    panel.grid(alpha=0.3)
    panel.legend()


def draw_groups(panel, of_kinds, xlabel):
    for number, (kind, groups) in enumerate(of_kinds.items()):
        at = np.arange(len(groups)) + 0.12 * (number - 0.5)
        share, lower, upper, _ = (np.array(column) for column in zip(*groups.values(), strict=True))
        panel.errorbar(at, share, (share - lower, upper - share), fmt="o", capsize=3, label=NAMES[kind])
    panel.set(xlabel=xlabel, ylabel="exact match, 95% intervals", xticks=range(len(groups)))
    panel.set_xticklabels(groups)
    panel.grid(alpha=0.3, axis="y")
    panel.legend()


def print_groups(of_kinds, heading):
    rows = []
    for group, (*_, n) in next(iter(of_kinds.values())).items():
        shares = [of_kind[group][:3] for of_kind in of_kinds.values()]
        rows.append((str(group), str(n), *(f"{p:.1%} ({lower:.1%} to {upper:.1%})" for p, lower, upper in shares)))
    table((heading, "pairs", *(NAMES[kind] for kind in of_kinds)), rows)


lengths = ["{:2} to {:2}".format(*(n - n % 5, n - n % 5 + 4)) for n in (min(len(p.source), 29) for p in held_out)]
lengths = [name.replace("25 to 29", "25 on") for name in lengths]
by_length = {kind: by_group(lengths, result.exact) for kind, result in results.items()}
figure = Figure(figsize=(11, 4.2), layout="constrained")
left, right = figure.subplots(1, 2)
draw_curves(left, curves)
draw_groups(right, by_length, "characters of the source")
show(figure, "Dates with and without attention: exact match while learning, and against the length of the source")

# %% tags=["measured"]
print_groups(by_length, "characters")
for kind, result in results.items():
    print(f"{NAMES[kind]:<15} in all {result.exact.mean():.1%}, {result.nats:.4f} nats a token")
wrong = [n for n in range(len(held_out)) if not results["none"].exact[n]][:5]
print("\nof what the network without attention writes wrongly:")
for n in wrong:
    print(f"{held_out[n].source:<36} {held_out[n].target}   {results['none'].written[n]}")

# %% [markdown]
# ## 5. Several dates in one source
#
# A date is three numbers, in however many characters they came: little to hold for a vector of this size. So let the
# source be a list of one to four dates, short ones, of up to ten characters, and the target all of them: now there is
# the more to hold, the longer the source is. The dates of the lists that are tested are of held-out days.
#
# A list counts as right if all of it is. Both networks learn from the same lists in the same number of steps; what the
# one without attention would come to in many more, or with more units, is not asked here.

# %% tags=["measured"]
LISTS = SETTINGS if SHORT else Settings(hidden=64, batch=32, steps=800)


def short_ones(pairs):
    return [pair for pair in pairs if len(pair.source) <= SHORT_DATE]


def lists_of(pairs, sizes, seed):
    """A list of each of these sizes, of dates drawn from the pairs."""
    draw = random.Random(seed)
    lists = [draw.choices(pairs, k=size) for size in sizes]
    return [Pair("; ".join(pair.source for pair in of), " ".join(pair.target for pair in of)) for of in lists]


learnt = short_ones(dates_data(2000 if SHORT else 40_000, LISTS.seed).of_step(0))
short_held_out = short_ones(dates.tests["held-out days"])
of_sizes = {size: lists_of(short_held_out, [size] * BATCH, f"test {size}") for size in range(1, MOST + 1)}
lists = Data(
    LISTS_ENCODING,
    of_step=lambda step: lists_of(learnt, random.Random(step).choices(range(1, MOST + 1), k=LISTS.batch), step),
    validation=lists_of(short_ones(dates.validation), [1 + n % MOST for n in range(BATCH)], "validation"),
    tests={},
)
for pair in lists.of_step(0)[:4]:
    print(f"{pair.source:<46} {pair.target}")

# %% tags=["measured"]
list_params, list_curves = train(LISTS, lists)
of_lists = {
    kind: {size: test(LISTS, kind, of, lists.encoding, pairs).exact for size, pairs in of_sizes.items()}
    for kind, of in list_params.items()
}
by_size = {
    kind: by_group(np.repeat(list(exact), BATCH), np.concatenate(list(exact.values())))
    for kind, exact in of_lists.items()
}
figure = Figure(figsize=(11, 4.2), layout="constrained")
left, right = figure.subplots(1, 2)
draw_curves(left, list_curves)
draw_groups(right, by_size, "dates in the source")
show(figure, "Lists of dates with and without attention: exact match while learning, and against their number")

# %% tags=["measured"]
print_groups(by_size, "dates")

# %% [markdown]
# ## 6. Where it looks
#
# $\alpha^t_s$ while the network with attention writes dates of held-out days: the source from left to right, what is
# written from top to bottom, its end as ∎.

# %% tags=["measured"]
aligned = jax.jit(model.alignment, static_argnames=("settings", "attention"))
alphas = [
    np.asarray(aligned(SETTINGS, "bahdanau", params["bahdanau"], dates.encoding.batch(held_out[n : n + BATCH])))
    for n in range(0, len(held_out), BATCH)
]
alphas = np.concatenate(alphas, axis=1)  # [T, pairs, S]
in_words = [n for n, pair in enumerate(held_out) if any(map(str.isalpha, pair.source))]
in_numbers = [n for n in range(len(held_out)) if n not in set(in_words)]
drawn = sorted([*in_words[:4], *in_numbers[:2]], key=lambda n: len(held_out[n].source))
figure = Figure(figsize=(11, 7), layout="constrained")
for panel, n in zip(figure.subplots(2, 3).flat, drawn, strict=True):
    source, target = held_out[n].source, held_out[n].target + "∎"
    panel.imshow(alphas[: len(target), n, : len(source)], vmin=0, vmax=1, aspect="auto")
    panel.set_xticks(range(len(source)), source, fontsize=8, parse_math=False)
    panel.set_yticks(range(len(target)), target, fontsize=8)
    panel.tick_params(length=0)
show(figure, "Where attention looks in the source while it writes a date, as heat maps")

# %% [markdown]
# Over all held-out dates that have a word in them: how much of $\alpha$ falls on which characters of the source, for
# each part of the target; and what would fall on them if it looked everywhere alike.

# %% tags=["measured"]
PARTS = {"year": slice(0, 4), "month": slice(5, 7), "day": slice(8, 10)}
KINDS = {"letters": str.isalpha, "digits": str.isdigit, "others": lambda c: not c.isalnum()}


def shares(part):
    """Of each kind of character: the mean, over dates in words, of the α that falls on it."""
    found = []
    for is_kind in KINDS.values():
        of_dates = [
            alphas[PARTS[part], n, : len(held_out[n].source)] @ np.array([is_kind(c) for c in held_out[n].source])
            for n in in_words
        ]
        found.append(f"{np.mean(of_dates):.1%}")
    return found


everywhere = [
    f"{np.mean([np.mean([is_kind(c) for c in held_out[n].source]) for n in in_words]):.1%}"
    for is_kind in KINDS.values()
]
table(("written", *KINDS), [*((part, *shares(part)) for part in PARTS), ("everywhere alike", *everywhere)])
