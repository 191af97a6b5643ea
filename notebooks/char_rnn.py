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
# # The character model, looked into
#
# Karpathy's char-RNN (*The Unreasonable Effectiveness of Recurrent Neural Networks*, 2015): a recurrent network reads a
# text and says at each character what the next one may be. Here it learns Python's source code, by the functions of
# `jbptt train chars`, and is then looked into as in *Visualizing and Understanding Recurrent Networks* (Karpathy,
# Johnson and Fei-Fei, 2015).
#
# 1. The text
# 2. What counting reaches: n-grams with back-off
# 3. The network, and what it writes while it learns
# 4. Its loss beside the n-grams'
# 5. Units that track indentation, quotes and brackets
# 6. Text in the colours of single units
#
# `T` is time, `B` the batch, `K` the characters of the vocabulary, `H` hidden units. Losses are in nats a character.
#
# *This notebook is made from `char_rnn.py` by `python tests/test_notebook.py char_rnn`, which needs
# `pip install -e '.[test]'`; the tests execute it again at smaller sizes (`JBPTT_SHORT=1`), where the network has
# learnt little. Cells tagged `measured` print what depends on training, or on the version of Python whose source is
# the text.*

# %%
import inspect
import io
import os
import re
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

import jbptt
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import make_corpus, standard_library, streams
from jbptt.app.tasks.chars.settings import Settings

SHORT = bool(os.environ.get("JBPTT_SHORT"))
CHARACTERS = 200_000 if SHORT else 1_200_000
SETTINGS = Settings(hidden=32, steps=60) if SHORT else Settings(hidden=128, steps=5400)


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


def code(text, above):
    display(Markdown(f"{above}\n\n~~~~~~~~python\n{text}\n~~~~~~~~"))


# %% [markdown]
# ## 1. The text
#
# The beginning of what `jbptt train chars` takes when it is given no text: the source code of Python's standard
# library, file after file. Nine tenths are learnt from; of the rest, one half is for validation, one for test. All that
# is said below of held-out text is of these.

# %% tags=["measured"]
text = standard_library()[:CHARACTERS]
corpus = make_corpus(text, shortest=SETTINGS.batch * (SETTINGS.length + 1))
K = len(corpus.vocabulary)
print(f"{len(text):,} characters, {K} distinct")
for name, split in corpus._asdict().items():
    if name != "vocabulary":
        print(f"{name:<10} {len(split):>9,}")

# %% [markdown]
# ## 2. What counting reaches: n-grams with back-off
#
# An n-gram model looks at the last $n - 1$ characters, $u$, and counts what came after them in the training text. The
# longer $u$, the better it tells what follows, and the more seldom it was there at all. So a longer context is mixed
# with the next shorter one, $u'$, by how much is known of it (Witten and Bell, 1991):
#
# $$p_n(k \mid u) = \frac{N(u k) + D(u)\; p_{n-1}(k \mid u')}{N(u) + D(u)} \qquad p_0 = \frac{1}{K}$$
#
# $N$ counts occurrences; $D(u)$ is how many distinct characters followed $u$: where many did, another new one is
# likely. A $u$ that never was has $N = D = 0$, and gives way to $u'$ altogether. It is a distribution: summed over
# $k$, the numerator is $N(u) + D(u)$.
#
# A string of characters is a number in base $K$, and counting is `np.unique`.

# %%
ORDERS = range(1, 9)


def ending_at(indices, n):
    """The number of the n characters that end at each place n - 1, n, ..."""
    places = len(indices) - n + 1
    return sum(indices[i : i + places].astype(np.int64) * K ** (n - 1 - i) for i in range(n))


def looked_up(keys, counts, wanted):
    """The counts of those wanted, 0 of what was never counted."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, counts[at], 0)


class NGrams:
    """Counts of training text for every order up to the highest."""

    def __init__(self, indices):
        self.of_order = {}
        for n in ORDERS:
            grams, times = np.unique(ending_at(indices, n), return_counts=True)
            contexts, first, distinct = np.unique(grams // K, return_index=True, return_counts=True)
            self.of_order[n] = grams, times, contexts, np.add.reduceat(times, first), distinct

    def probabilities(self, indices):
        """p_n of each character after the highest order's context, for every n: {n: [places]}."""
        p, found = np.full(len(indices) - ORDERS[-1] + 1, 1 / K), {}
        for n in ORDERS:
            grams, times, contexts, totals, distinct = self.of_order[n]
            wanted = ending_at(indices, n)[-len(p) :]
            N, D = (looked_up(contexts, counts, wanted // K) for counts in (totals, distinct))
            mixed = (looked_up(grams, times, wanted) + D * p) / np.maximum(N + D, 1)
            found[n] = p = np.where(N > 0, mixed, p)
        return found


ngrams = NGrams(corpus.train)

# %% [markdown]
# Is it one? The probabilities of all $K$ characters after a thousand contexts of the validation text:

# %%
starts = np.linspace(0, len(corpus.validation) - ORDERS[-1], 1000, dtype=int)
contexts = corpus.validation[starts[:, None] + np.arange(ORDERS[-1] - 1)]
sums = dict.fromkeys(ORDERS, 0)
for k in range(K):
    strings = np.column_stack([contexts, np.full(len(contexts), k, np.int32)])
    for n, p in ngrams.probabilities(strings.ravel()).items():
        sums[n] += p[:: ORDERS[-1]]  # of the strings, not of what lies across two of them
for n in ORDERS:
    error = np.max(np.abs(sums[n] - 1))
    print(f"order {n}: probabilities sum to 1, error <= 1e-12: {error <= 1e-12}")


# %% [markdown]
# The network will read the validation text as `B` streams side by side, and say something of each of its characters
# but the first of every stream. The n-grams are asked for the same ones.


# %%
def in_order(values):
    """What is [N, B, ...], of streams, in the order of the text: [B * N, ...]."""
    return np.asarray(values).swapaxes(0, 1).reshape(-1, *values.shape[2:])


# %% tags=["measured"]
stream = streams(corpus.validation, SETTINGS.batch)
before = corpus.train[1 - ORDERS[-1] :]  # contexts of the first characters
asked = np.ones(stream.shape, bool)
asked[0] = False
asked = in_order(asked)
of_ngrams = {
    n: float(-np.mean(np.log(p[: len(asked)][asked])))
    for n, p in ngrams.probabilities(np.concatenate([before, corpus.validation])).items()
}
table(
    ("order", "contexts", "validation, nats"),
    [(str(n), f"{len(ngrams.of_order[n][2]):,}", f"{nats:.4f}") for n, nats in of_ngrams.items()],
)
print(f"no model, log K: {np.log(K):.4f}")
print(f"the best order: {min(of_ngrams, key=of_ngrams.get)}")

# %% [markdown]
# ## 3. The network, and what it writes while it learns
#
# One LSTM, then $y = \mathrm{softmax}(V h + c)$; stateful truncated backpropagation through time. This is the step of
# `jbptt train chars`, taken from its source:

# %%
code(textwrap.dedent(inspect.getsource(model.train_step)).rstrip(), f"`{model.__name__}`")

# %% [markdown]
# Samples are drawn at temperature 0.7, after `def `. Before the first step every character is about as likely as any
# other.

# %% tags=["measured"]
PRIME = "def "
SHOWN_AT = [0, *(SETTINGS.steps // part for part in (30, 10, 3)), SETTINGS.steps]
VALIDATED_AT = {*SHOWN_AT, *range(0, SETTINGS.steps + 1, SETTINGS.steps // 10)}
step = jax.jit(model.train_step, static_argnames="settings", donate_argnames="carry")
draw = jax.jit(model.sample, static_argnames=("settings", "length"))


@jax.jit
def nats_of(params, stream):
    """Mean over what is after each character of the streams."""
    return model.loss(
        SETTINGS, params, model.initial_states(SETTINGS, params, stream.shape[1]), stream[:-1], stream[1:]
    )[0]


def characters(indices):
    return "".join(corpus.vocabulary[index] for index in np.asarray(indices))


def sample(params, number, nats):
    prime = jnp.asarray([corpus.vocabulary.index(character) for character in PRIME])
    drawn = characters(draw(SETTINGS, params, jax.random.key(1), prime, 320, model.Drawing()))
    code(PRIME + drawn, f"**After {number:,} steps**, validation {nats:.4f} nats:")


carry = model.init(SETTINGS, K)
untrained = jax.tree.map(np.asarray, carry.params)  # training takes the arrays of the carry over
training_stream = streams(corpus.train, SETTINGS.batch)
curve = {"training": {}, "validation": {}}
for number in range(SETTINGS.steps + 1):
    if number in VALIDATED_AT:
        if number:
            last = max(curve["validation"])
            curve["training"][(last + number) / 2] = carry.losses.value()
        curve["validation"][number] = float(nats_of(carry.params, stream))
        carry = carry._replace(losses=RunningMean.empty())
    if number in SHOWN_AT:
        sample(carry.params, number, curve["validation"][number])
    if number < SETTINGS.steps:
        carry = step(SETTINGS, carry, model.chunk_of(number, training_stream, SETTINGS.length))
params = carry.params

# %% [markdown]
# ## 4. Its loss beside the n-grams'

# %% tags=["measured"]
figure = Figure(figsize=(9, 5), layout="constrained")
panel = figure.subplots()
for name, of_steps in curve.items():
    panel.plot(*zip(*of_steps.items(), strict=True), "o-", markersize=4, label=f"LSTM, {name}")
lines = []  # [first order, last, nats of the first]: no two names on one line of text
for n, nats in of_ngrams.items():
    panel.axhline(nats, color="gray", linewidth=0.8, linestyle="--")
    if lines and abs(lines[-1][2] - nats) < 0.07:
        lines[-1][1] = n
    else:
        lines.append([n, n, nats])
for first, last, nats in lines:
    name = f"{first}-grams" if first == last else f"{first}- to {last}-grams"
    panel.annotate(name, (SETTINGS.steps * 1.01, nats), fontsize=8, va="center", annotation_clip=False)
panel.set(xlabel="step", ylabel="nats a character", xlim=(0, SETTINGS.steps), ylim=(None, of_ngrams[1] + 0.2))
panel.legend()
panel.grid(alpha=0.3)
show(figure, "Training and validation loss of a character LSTM, beside n-gram models with back-off")

# %% tags=["measured"]
final = curve["validation"][SETTINGS.steps]
beaten = [n for n, nats in of_ngrams.items() if final < nats]
print(f"LSTM, {sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters: {final:.4f} nats on held-out text")
print(f"it is better than the n-grams of order {beaten or 'none'}")
print(f"and worse than those of order {[n for n in ORDERS if n not in beaten] or 'none'}")

# %% [markdown]
# The n-grams see a few characters and remember all that followed them; the network has seen the same text and keeps
# what fits its weights, but its state may hold something for as long as it pleases. What does it hold?
#
# ## 5. Units that track indentation, quotes and brackets
#
# What a reader of code keeps in mind, told from the text alone: one regular expression finds comments, strings and
# brackets, from the beginning of the text on. Of indentation it is asked, within the text of a line, how many spaces
# were in front of it; in the midst of those spaces (dots, below) one would ask but how many were read just now.


# %%
PIECES = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<string>("{3}|'{3})(?:\\.|(?!\3).)*\3 | (["'])(?:\\.|(?!\4)[^\\\n])*\4)
      | (?P<open>[(\[{]) | (?P<close>[)\]}])""",
    re.VERBOSE | re.DOTALL,
)


def features(source):
    """What holds right after each character: {name: [characters]}; NaN where it is not asked."""
    quotes, comment, opened = np.zeros((3, len(source)))
    for piece in PIECES.finditer(source):
        start, end = piece.span()
        if piece.lastgroup == "string":
            quotes[start : end - 1] = 1  # after the closing one it is over
        elif piece.lastgroup == "comment":
            comment[start:end] = 1
        else:
            opened[start] = 1 if piece.lastgroup == "open" else -1
    lines = [line + "\n" for line in source.split("\n")]
    column = np.concatenate([np.arange(1, len(line) + 1) % len(line) for line in lines])[: len(source)]
    spaces = np.concatenate([np.full(len(line), len(line) - len(line.lstrip(" "))) for line in lines])[: len(source)]
    return {
        "indentation, spaces": np.where(column > spaces, spaces, np.nan),
        "inside quotes": quotes,
        "inside brackets": (np.cumsum(opened) > 0).astype(float),
        "inside a comment": comment,
        "place in the line": column,
    }


EXAMPLE = 'if x:\n    f(a, "b(")  # c\n'
print("character            ", " ".join(character if character != "\n" else "↵" for character in EXAMPLE))
for name, values in features(EXAMPLE).items():
    print(f"{name:<21}", " ".join("." if np.isnan(value) else f"{int(value) % 10}" for value in values))

# %% [markdown]
# The network reads the validation and the test text, and its $h^t$ and $\tanh(c^t)$ are kept: what single units put
# out, and what they hold. Which of the $2H$ goes with a feature the most, by the absolute value of Pearson's
# correlation over all characters, is found on the *validation* text; its correlation is then measured on the *test*
# text, which had no say in the choice. Beside it stand two controls:
#
# - *shifted*: the feature moved along the test text by a random distance, which leaves its runs and its rhythm and
#   takes away only what it has to do with these characters. The unit is chosen anew for each shift, and on the test
#   text itself: of 20 shifts, the largest correlation of any unit.
# - *untrained*: the same network before its first step, its unit chosen and measured as the trained one's. That is not
#   nothing: its $c$ are sums, with random signs, of what was read lately, and fade.

# %% tags=["measured"]
H = SETTINGS.hidden
SHIFTS = 20


@jax.jit
def states_of(params, stream):
    """h and tanh(c) of every unit after each character of the streams: [N, B, 2H]."""
    _, states = jbptt.unroll_states(jbptt.lstm, params["layers"][0], stream)
    return jnp.concatenate([states.h, jnp.tanh(states.c)], axis=-1)


def correlations(units, features):
    """Pearson's of every unit [N, U] with every feature [N, F], over where that is not NaN: [U, F]."""
    there = (~np.isnan(features)).astype(float)
    values = np.nan_to_num(features)
    n = there.sum(0)
    means, of_units = values.sum(0) / n, units.T @ there / n
    covariances = units.T @ values / n - of_units * means
    variances = ((units**2).T @ there / n - of_units**2) * ((values**2).sum(0) / n - means**2)
    return covariances / np.sqrt(np.maximum(variances, 1e-30))  # 0 of what never changes


class Read(NamedTuple):
    """A held-out text, read by a network: its units [N, 2H], and the features [N, F] of the text."""

    units: np.ndarray
    features: np.ndarray


of_text = features(text)
starts = dict(zip(("validation", "test"), np.cumsum([len(corpus.train), len(corpus.validation)]), strict=True))


def read(params, name):
    stream = streams(getattr(corpus, name), SETTINGS.batch)
    units = in_order(states_of(params, jnp.asarray(stream))).astype(float)
    there = slice(starts[name], starts[name] + len(units))
    return Read(units, np.stack([values[there] for values in of_text.values()], axis=-1))


def best(validation, test):
    """Of each feature: (unit, its correlation on the test text)."""
    units = np.argmax(np.abs(correlations(*validation)), axis=0)
    of_test = np.diag(correlations(test.units[:, units], test.features))
    return list(zip(units.tolist(), of_test.tolist(), strict=True))


def of_shifted(test):
    """Of each feature: the largest correlation of any unit with it, shifted."""
    N = len(test.units)
    shifts = np.random.default_rng(0).integers(N // 10, 9 * N // 10, SHIFTS)
    shifted = np.concatenate([np.roll(test.features, shift, axis=0) for shift in shifts], axis=-1)
    return np.abs(correlations(test.units, shifted)).max(0).reshape(SHIFTS, -1).max(0)


def name_of(unit):
    return f"{'h' if unit < H else 'c'}[{unit % H}]"


trained_read, untrained_read = ([read(of, name) for name in starts] for of in (params, untrained))
found, of_untrained, of_shift = best(*trained_read), best(*untrained_read), of_shifted(trained_read[1])
table(
    ("feature", "best unit", "correlation", "shifted, largest", "untrained"),
    [
        (name, name_of(unit), f"{r:+.3f}", f"{shifted:.3f}", f"{r_untrained:+.3f}")
        for name, (unit, r), shifted, (_, r_untrained) in zip(of_text, found, of_shift, of_untrained, strict=True)
    ],
)
controls = [max(shifted, abs(r)) for shifted, (_, r) in zip(of_shift, of_untrained, strict=True)]
tracked = [name for name, (_, r), control in zip(of_text, found, controls, strict=True) if abs(r) > control]
print(f"above both controls: {', '.join(tracked) or 'none'}")

# %% [markdown]
# A correlation of one unit is the least that can be said: the network is free to spread what it holds over many units,
# and has no reason to keep it in one. How well can *all* of them together say it, in a linear way? Weights by ridge
# regression on the validation text, the correlation of what they say with the feature on the test text:


# %% tags=["measured"]
def of_all(validation, test):
    """Of each feature: the correlation, on the test text, of what a linear map of all units says."""
    correlated = []
    for feature, of_test in zip(validation.features.T, test.features.T, strict=True):
        there = ~np.isnan(feature)
        units = validation.units[there]
        mean = units.mean(0)
        centred = units - mean
        weights = np.linalg.solve(centred.T @ centred + np.eye(2 * H), centred.T @ feature[there])
        said = (test.units - mean) @ weights
        correlated.append(f"{correlations(said[:, None], of_test[:, None]).item():.3f}")
    return correlated


table(
    ("feature", "best unit", "all units", "best, untrained", "all, untrained"),
    [
        (name, f"{abs(r):.3f}", together, f"{abs(r_untrained):.3f}", together_untrained)
        for name, (_, r), together, (_, r_untrained), together_untrained in zip(
            of_text, found, of_all(*trained_read), of_untrained, of_all(*untrained_read), strict=True
        )
    ],
)

# %% [markdown]
# ## 6. Text in the colours of single units
#
# The units found, over a piece of the test text: each character has the colour of the unit right after it was read,
# red above 0 and blue below. Where a feature that is either there or not is there, there is a line below the text. A
# unit that tracks it turns where the line begins and ends; one that only goes along with it turns elsewhere, too.

# %% tags=["measured"]
ROWS, COLUMNS = 12, 88
test_units = trained_read[1].units


def piece_of_test():
    """(start, lines) of the ROWS lines of the test text in which the features above change the most often."""
    start, N = starts["test"], len(test_units)
    lines = text[start : start + N].split("\n")
    of_lines = np.cumsum([0, *(len(line) + 1 for line in lines)])
    changes = sum(
        np.abs(np.diff(of_text[name][start : start + N + 1]))
        for name in ("inside quotes", "inside brackets", "inside a comment")
    )
    of_line = np.add.reduceat(changes, of_lines[:-2])
    fits = [max(map(len, lines[n : n + ROWS])) <= COLUMNS for n in range(len(lines) - 1 - ROWS)]
    n = int(np.argmax([ok * sum(of_line[n : n + ROWS]) for n, ok in enumerate(fits)]))
    return start + of_lines[n], lines[n : n + ROWS]


piece_start, lines = piece_of_test()
of_lines = piece_start + np.cumsum([0, *(len(line) + 1 for line in lines)])
longest = max(map(len, lines))
figure = Figure(figsize=(0.108 * longest, 2.0 * len(found)), layout="constrained")
for panel, name, (unit, r) in zip(figure.subplots(len(found)), of_text, found, strict=True):
    colours = np.full((ROWS, longest), np.nan)
    for row, line in enumerate(lines):
        place = of_lines[row] + np.arange(len(line))
        colours[row, : len(line)] = test_units[place - starts["test"], unit]
        for column, character in enumerate(line):
            panel.text(column, row, character, family="monospace", fontsize=7.5, ha="center", va="center_baseline")
        if line and of_text[name].max() == 1:
            there = np.where(of_text[name][place] == 1, row + 0.45, np.nan)
            panel.plot(
                np.arange(-0.5, len(line)), [*there[:1], *there], color="black", linewidth=1.2, drawstyle="steps-pre"
            )
    most = np.nanmax(np.abs(colours))
    panel.imshow(colours, cmap="coolwarm", vmin=-most, vmax=most, aspect="auto")
    panel.set(xlim=(-0.5, longest - 0.5), ylim=(ROWS - 0.4, -0.5))
    panel.set_axis_off()
    panel.set_title(f"{name}: {name_of(unit)}, correlation {r:+.2f}", fontsize=9, loc="left")
show(figure, "Held-out source code in the colours of the units that go with each feature the most")
