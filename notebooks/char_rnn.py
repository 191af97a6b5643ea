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

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, Markdown, display
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import jbptt
from jbptt.app.running_mean import RunningMean
from jbptt.app.tasks.chars import model
from jbptt.app.tasks.chars.corpus import make_corpus, standard_library, streams
from jbptt.app.tasks.chars.settings import Settings

SHORT = bool(os.environ.get("JBPTT_SHORT"))
CHARACTERS = 200_000 if SHORT else 1_200_000
SETTINGS = Settings(hidden=64, steps=60) if SHORT else Settings(hidden=128, steps=3000)


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
def held_out(split):
    """Streams [N, B] of a split; in front of them the last characters before it, as contexts for its first."""
    return streams(split, SETTINGS.batch)


def in_order(values):
    """What is [N, B, ...], of streams, in the order of the text: [B * N, ...]."""
    return np.asarray(values).swapaxes(0, 1).reshape(-1, *values.shape[2:])


# %% tags=["measured"]
stream = held_out(corpus.validation)
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
VALIDATED = SETTINGS.steps // 15
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


def sample(params, number):
    prime = jnp.asarray([corpus.vocabulary.index(character) for character in PRIME])
    drawn = characters(draw(SETTINGS, params, jax.random.key(1), prime, 320, model.Drawing()))
    code(PRIME + drawn, f"**After {number:,} steps**, validation {float(nats_of(params, stream)):.4f} nats:")


carry = model.init(SETTINGS, K)
untrained = jax.tree.map(np.asarray, carry.params)
training_stream = streams(corpus.train, SETTINGS.batch)
curve = {"training": ([], []), "validation": ([], [])}
for number in range(SETTINGS.steps + 1):
    if number % VALIDATED == 0:
        curve["validation"][0].append(number)
        curve["validation"][1].append(float(nats_of(carry.params, stream)))
        if number:
            curve["training"][0].append(number - VALIDATED / 2)
            curve["training"][1].append(carry.losses.value())
        carry = carry._replace(losses=RunningMean.empty())
    if number in SHOWN_AT:
        sample(carry.params, number)
    if number < SETTINGS.steps:
        carry = step(SETTINGS, carry, model.chunk_of(number, training_stream, SETTINGS.length))
params = carry.params

# %% [markdown]
# ## 4. Its loss beside the n-grams'

# %% tags=["measured"]
figure = Figure(figsize=(9, 5), layout="constrained")
panel = figure.subplots()
for name, (numbers, nats) in curve.items():
    panel.plot(numbers, nats, "o-" if name == "validation" else "-", label=f"LSTM, {name}", markersize=4)
for n, nats in of_ngrams.items():
    panel.axhline(nats, color="gray", linewidth=0.8, linestyle="--")
    above = n == 1 or of_ngrams[n - 1] - nats > 0.05  # no two names on one line
    panel.annotate(
        f"{n}-grams" if above else f"{n}",
        (SETTINGS.steps * (1.01 if above else 1.1 + 0.02 * n), nats),
        fontsize=8,
        va="center",
        annotation_clip=False,
    )
panel.set(xlabel="step", ylabel="nats a character", xlim=(0, SETTINGS.steps))
panel.legend()
panel.grid(alpha=0.3)
show(figure, "Training and validation loss of a character LSTM, beside n-gram models with back-off")

# %% tags=["measured"]
final = curve["validation"][1][-1]
beaten = [n for n, nats in of_ngrams.items() if final < nats]
print(f"LSTM, {sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters: {final:.4f} nats on held-out text")
print(f"below it, so better: the n-grams of order {[n for n in ORDERS if n not in beaten] or 'none'}")
print(f"above it: those of order {beaten or 'none'}")

# %% [markdown]
# The n-grams see a few characters and remember all that followed them; the network has seen the same text and keeps
# what fits its weights, but its state may hold something for as long as it pleases. What does it hold?
#
# ## 5. Units that track indentation, quotes and brackets
#
# What a reader of code keeps in mind, told from the text alone: one regular expression finds comments, strings and
# brackets, from the beginning of the text on.


# %%
PIECES = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<string>("{3}|'{3})(?:\\.|(?!\3).)*\3 | (["'])(?:\\.|(?!\4)[^\\\n])*\4)
      | (?P<open>[(\[{]) | (?P<close>[)\]}])""",
    re.VERBOSE | re.DOTALL,
)


def features(source):
    """What holds right after each character: {name: [characters]}."""
    size = len(source)
    quotes, comment, depth = np.zeros(size), np.zeros(size), np.zeros(size)
    for piece in PIECES.finditer(source):
        start, end = piece.span()
        if piece.lastgroup == "comment":
            comment[start:end] = 1
        elif piece["string"]:
            quotes[start : end - 1] = 1  # after the closing one it is over
        else:
            depth[start:] += 1 if piece["open"] else -1
    lines = source.splitlines(keepends=True)
    column = np.concatenate([np.arange(1, len(line) + 1) for line in lines])
    indented = np.concatenate([np.full(len(line), len(line) - len(line.lstrip(" "))) for line in lines])
    newline = np.array([character == "\n" for character in source])
    return {
        "indentation, spaces": np.where(newline, 0, np.minimum(column, indented)),  # those read so far
        "inside quotes": quotes,
        "inside brackets": (depth > 0).astype(float),
        "inside a comment": comment,
        "place in the line": np.where(newline, 0, column),
    }


EXAMPLE = 'if x:\n    f(a, "b(")  # c\n'
print("character            ", " ".join(character if character != "\n" else "↵" for character in EXAMPLE))
for name, values in features(EXAMPLE).items():
    print(f"{name:<21}", " ".join(f"{int(value) % 10}" for value in values))
