"""The data and baselines of tasks on sequences, held to code that shares nothing with what makes them."""

import io
import math
import re
import socket
from collections import Counter, defaultdict
from pathlib import Path

import jax
import jax.numpy as jnp
import music21
import numpy as np
import pytest
from sklearn import datasets

from jbptt.app.tasks.sequences import adding, chorales, copying, languages, midi, musicxml, reber, temporal_order
from jbptt.app.tasks.sequences.settings import settings_of
from jbptt.app.tasks.sequences.table import TASKS
from jbptt.app.tasks.sequences.task import Batch, sampled

KEY = jax.random.key(7)


def columns(batch):
    """The strings of a batch: lists of symbols, as long as they are."""
    inputs = np.asarray(batch.inputs)
    lengths = [len(inputs)] * inputs.shape[1] if batch.lengths is None else np.asarray(batch.lengths)
    return [inputs[:length, b].tolist() for b, length in enumerate(lengths)]


def problem_of(name, **given):
    return TASKS[name].problem(settings_of(TASKS[name])(**given))


def test_adding():
    T, batch = 9, adding.draw(9, KEY, 5000)
    for (numbers, marks), target in zip(np.asarray(batch.inputs).transpose(1, 2, 0), batch.targets, strict=True):
        (first, second) = np.flatnonzero(marks)
        assert first < T // 2 <= second
        assert set(marks) == {0, 1} and numbers.min() >= 0 and numbers.max() < 1
        assert target == pytest.approx(numbers[first] + numbers[second], abs=1e-6)
    assert np.mean((np.asarray(batch.targets) - 1) ** 2) == pytest.approx(1 / 6, rel=0.05)
    marked = np.flatnonzero(np.asarray(batch.inputs)[..., 1].sum(axis=1) == 0)
    assert not len(marked), "every step is marked at times"


def test_adding_counts_errors_below_its_tolerance():
    output = problem_of("adding", length=4).output
    z = jnp.asarray([[1.0], [1.0], [1.0]])
    targets = jnp.asarray([1.03, 0.97, 1.05])
    assert output.right(z, targets).tolist() == [True, True, False]
    assert output.total(z, targets, jnp.ones(3), "manual") == pytest.approx(0.03**2 + 0.03**2 + 0.05**2, rel=1e-4)


def test_copy():
    T, batch = 7, copying.draw(7, KEY, 300)
    answers = np.asarray(batch.targets).T.tolist()
    for shown, answer in zip(columns(batch), answers, strict=True):
        symbols = shown[:10]
        assert set(symbols) <= set(range(8))
        assert shown == symbols + [8] * (T - 1) + [9] + [8] * 10
        assert answer == [8] * (T + 10) + symbols
    assert {symbol for answer in answers for symbol in answer[-10:]} == set(range(8))
    unknown = np.mean([symbol != 8 for answer in answers for symbol in answer])
    (baseline,) = problem_of("copy", delay=T).baselines.values()
    assert baseline == pytest.approx(unknown * math.log(8))


def test_temporal_order():
    batch = temporal_order.draw(100, KEY, 500)
    seen = Counter()
    for string, target in zip(columns(batch), np.asarray(batch.targets), strict=True):
        text = "".join("EBabcdXY"[symbol] for symbol in string)
        assert re.fullmatch("E[abcdXY]*B", text) and 100 <= len(text) <= 110
        (first, second) = [position for position, letter in enumerate(text) if letter in "XY"]
        assert 10 <= first <= 20 and 50 <= second <= 60
        assert ["XX", "XY", "YX", "YY"][target] == text[first] + text[second]
        seen[target] += 1
    assert len(seen) == 4 and min(seen.values()) > 80


LOOP = "(XT*VP)*(S|XT*VV)"
INNER = f"B(TS*X{LOOP}|PT*V(V|P{LOOP}))E"
EMBEDDED = re.compile(f"BT{INNER}TE|BP{INNER}PE")


def reber_strings(shortest, longest, size):
    batch = reber.draw(shortest, longest, KEY, size)
    following, may = (np.asarray(leaf) for leaf in batch.targets)
    for b, inputs in enumerate(columns(batch)):
        string = [*inputs, following[len(inputs) - 1, b]]
        assert following[: len(inputs), b].tolist() == string[1:]
        yield "".join("BTSXPVE"[symbol] for symbol in string), may[: len(inputs), b]


@pytest.mark.parametrize(("shortest", "longest"), [(9, 30), (40, 60), (9, 9)])
def test_reber(shortest, longest):
    follow, may_follow = defaultdict(Counter), {}
    strings = list(reber_strings(shortest, longest, 2000))
    for string, may in strings:
        assert EMBEDDED.fullmatch(string), string
        assert shortest <= len(string) <= longest
        for end in range(1, len(string)):
            follow[string[:end]][string[end]] += 1
            allowed = {symbol for symbol, yes in zip("BTSXPVE", may[end - 1], strict=True) if yes}
            assert may_follow.setdefault(string[:end], allowed) == allowed
    if shortest < longest:
        often = [prefix for prefix, counts in follow.items() if counts.total() > 200 and len(prefix) < 8]
        assert len(often) > 5
        for prefix in often:
            assert set(follow[prefix]) == may_follow[prefix] or shortest > 9
    assert np.mean([string[1] == "T" for string, _ in strings]) == pytest.approx(0.5, abs=0.04)


def test_reber_strings_are_as_long_as_fair_walks():
    """Of walks through the published diagram, drawn one by one, and those that are too long left out."""
    diagram = {0: "B1", 1: "T2P3", 2: "S2X4", 3: "T3V5", 4: "X3S6", 5: "P4V6", 6: "E7"}
    draw, lengths = np.random.default_rng(0), []
    while len(lengths) < 4000:
        node, length = 0, 4
        while node < 7:
            ways = re.findall("..", diagram[node])
            node, length = int(ways[draw.integers(len(ways))][1]), length + 1
        if length <= 30:
            lengths.append(length)
    ours = [len(string) for string, _ in reber_strings(9, 30, 4000)]
    for length in range(9, 16):
        assert ours.count(length) / 4000 == pytest.approx(lengths.count(length) / 4000, abs=0.03)


def even_pairs(string):
    text = "".join(map(str, string))
    return int((text.count("01") + text.count("10")) % 2 == 0)


ANSWERS = {
    "parity": lambda string: string.count(1) % 2,
    "even-pairs": even_pairs,
    "cycle-navigation": lambda string: (string.count(2) - string.count(0)) % 5,
}


@pytest.mark.parametrize(
    ("name", "language"),
    [("parity", languages.PARITY), ("even-pairs", languages.EVEN_PAIRS), ("cycle-navigation", languages.CYCLE)],
    ids=["parity", "even-pairs", "cycle-navigation"],
)
def test_languages(name, language):
    batch = languages.draw(language, 2, 12, KEY, 4000)
    answers = np.asarray(batch.targets)
    strings = columns(batch)
    assert {len(string) for string in strings} == set(range(2, 13))
    assert [ANSWERS[name](string) for string in strings] == answers.tolist()
    assert language.likeliest(12) == pytest.approx(max(Counter(answers.tolist()).values()) / 4000, abs=0.03)
    problem = problem_of(name, longest=5, tested=9)
    inside, beyond = ({len(s) for b in batches for s in columns(b)} for batches in problem.tests.values())
    assert inside == {2, 3, 4, 5} and beyond == {6, 7, 8, 9}


def test_digits_are_read_pixel_by_pixel():
    images = {image.tobytes(): target for image, target in zip(*datasets.load_digits(return_X_y=True), strict=True)}
    plain, permuted = (problem_of("digits", permuted=permuted) for permuted in (False, True))
    (held_out,), (moved,) = ([batches[0] for batches in each.tests.values()] for each in (plain, permuted))
    pixels = np.asarray(held_out.inputs, np.float64)[..., 0].T * 16
    assert [images[digit.tobytes()] for digit in pixels] == np.asarray(held_out.targets).tolist()
    steps = np.asarray(moved.inputs)[..., 0] * 16
    order = [int(np.flatnonzero((step == pixels.T).all(axis=1))[0]) for step in steps]
    assert order != sorted(order)
    assert sum(batch.targets.size for batch in plain.tests["held out"]) == 400
    assert 0.93 < plain.baselines["logistic regression"] < 0.98


def test_mnist1d_needs_no_network(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    problem = problem_of("mnist1d")
    assert problem.draw(KEY).inputs.shape == (40, 100, 1)
    assert problem.baselines["logistic regression"] == pytest.approx(0.32, abs=0.02)


def test_sampled_sequences_keep_their_targets_and_lengths():
    numbers = jnp.arange(5.0)
    sequences = Batch(jnp.broadcast_to(numbers[:, None], (3, 5, 1)), 10 * numbers, numbers.astype(jnp.int32))
    batch = sampled(sequences, problem_of("adding", length=4).output, 50)(KEY)
    assert set(np.asarray(batch.lengths).tolist()) == set(range(5))
    np.testing.assert_array_equal(batch.targets, 10 * batch.inputs[0, :, 0])
    np.testing.assert_array_equal(batch.lengths, batch.inputs[0, :, 0])


CORPUS = Path(music21.__file__).parent / "corpus/bach"


@pytest.mark.parametrize("name", ["bwv253", "bwv294", "bwv36.8-2", "bwv227.11"])
def test_chorales_are_those_that_music21_reads(name):
    """Its reader, and its key signature's tonic in place of our fifths."""
    score = music21.converter.parse(CORPUS / f"{name}.mxl", forceSource=True)
    (signature, *_) = score.recurse().getElementsByClass("KeySignature")
    tonic = signature.asKey("major").tonic.pitchClass
    shift = -tonic if tonic < 6 else 12 - tonic
    notes = [(n.offset, n.offset + n.quarterLength, p.midi) for n in score.flatten().notes for p in n.pitches]
    roll = np.zeros((int(max(end for _, end, _ in notes)), 88))
    for quarter in range(len(roll)):
        for start, end, pitch in notes:
            if start <= quarter < end:
                roll[quarter, pitch + shift - 21] = 1
    np.testing.assert_array_equal(chorales._roll(musicxml.read(CORPUS / f"{name}.mxl"), 1), roll)


def test_baselines_of_chorales_by_hand():
    learned, tested = (np.zeros((2, 88), np.float32) for _ in range(2))
    learned[:, 40] = tested[0, 40] = 1
    frequency, itself = chorales.baselines([learned], [tested]).values()
    others = 87 * math.log(4 / 3)  # silent twice: (0 + 1) / (2 + 2)
    assert frequency == pytest.approx(others + (math.log(4 / 3) + math.log(4)) / 2)
    after_silence, after_itself = 2 / 3, 2 / 3  # (1 + 1) / (1 + 2), each
    costs = -math.log(after_silence) - math.log(1 - after_itself)
    assert itself == pytest.approx(others + costs / 2)


def test_continuations_are_midi_files_that_music21_reads():
    roll = np.zeros((5, 88), bool)
    roll[0:3, 39] = roll[2:5, 43] = roll[4:, 39] = True
    read = music21.midi.translate.midiStringToStream(midi.of_roll(roll, 21, 2))
    notes = {(float(n.offset), p.midi, float(n.quarterLength)) for n in read.flatten().notes for p in n.pitches}
    assert notes == {(0.0, 60, 1.5), (1.0, 64, 1.5), (2.0, 60, 0.5)}


def test_a_trained_model_goes_on_with_what_it_heard():
    """One that says at each step what it heard a step before: what it hears goes on for ever."""
    settings = settings_of(TASKS["chorales"])(cell="rnn", hidden=88)
    weights = {"U": 20 * jnp.eye(88), "W": jnp.zeros((88, 88)), "b": -10 * jnp.ones(88)}
    params = {"layers": [weights], "output": {"w": 100 * jnp.eye(88), "b": jnp.zeros(88)}}
    heard = jnp.zeros((3, 88)).at[:, 40].set(1)
    drawn = chorales.continued(settings, params, heard, 4, KEY)
    np.testing.assert_array_equal(drawn, np.repeat(heard[:1], 4, axis=0))
    assert io.BytesIO(midi.of_roll(np.asarray(drawn) > 0, 21, 1)).read(4) == b"MThd"
