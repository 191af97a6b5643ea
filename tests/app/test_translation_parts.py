"""The parts of the translation task, each held to something worked out without it."""

from datetime import date

import numpy as np
import pytest

from jbptt.app.errors import UserError
from jbptt.app.tasks.translation import dates, tsv
from jbptt.app.tasks.translation.pairs import END, START, Encoding, Pair, Vocabulary
from jbptt.app.tasks.translation.settings import Settings


def test_pairs_as_arrays():
    encoding = Encoding(Vocabulary.of(["ab", "cb"], words=False), Vocabulary.of(["x y"], words=True), 3, 3)
    batch = encoding.batch([Pair("ab", "y x"), Pair("c", "y")])
    a, b, c, x, y = 2, 3, 4, 2, 3
    np.testing.assert_array_equal(batch.source.T, [[a, b, END], [c, END, END]])
    np.testing.assert_array_equal(batch.target.T, [[START, y, x], [START, y, END]])
    np.testing.assert_array_equal(batch.following.T, [[y, x, END], [y, END, END]])
    assert batch.source_lengths.tolist() == [2, 1] and batch.target_lengths.tolist() == [3, 2]
    assert encoding.target.text([y, x, END]) == "y x"
    assert encoding.source.unknown("abd€") == ["d", "€"]


@pytest.mark.parametrize("words", [False, True])
def test_rare_tokens_become_one(words):
    texts, unknown = ["a a b", "a c a"], "<unk>" if words else "�"
    vocabulary = Vocabulary.of(texts, words=words, min_count=2)
    assert vocabulary.tokens == (tuple(sorted({"a", unknown})) if words else (" ", "a", "�"))
    assert vocabulary.unknown("a b never") == []
    encoding = Encoding(vocabulary, vocabulary, 9, 9)
    batch = encoding.batch([Pair("a b", "c a")])
    assert vocabulary.text(batch.source[:, 0]) == ("a <unk>" if words else "a �")
    assert vocabulary.text(batch.following[:, 0]) == ("<unk> a" if words else "� a")


def test_a_count_that_leaves_nothing(tmp_path):
    (tmp_path / "pairs.tsv").write_text("\n".join(f"{n}\t{n}" for n in range(40)))
    with pytest.raises(UserError, match="--min-count 999 leaves no token of the source"):
        tsv.pairs_data(tmp_path / "pairs.tsv", Settings(min_count=999, batch=4))


def test_a_token_of_that_name_stands_for_no_other():
    assert Vocabulary.of(["a <unk>"], words=True).unknown("a b <unk>") == ["b"]


def test_what_is_rare_is_counted_in_what_is_learned(tmp_path):
    (tmp_path / "pairs.tsv").write_text("\n".join(f"word{n} same\tsame" for n in range(40)))
    data = tsv.pairs_data(tmp_path / "pairs.tsv", Settings(tokens="words", min_count=2, batch=4))
    assert data.encoding.source.tokens == ("<unk>", "same")
    data.encoding.batch([*data.validation, *data.tests["held-out sources"]])


@pytest.mark.parametrize(
    ("text", "day", "another"),
    [
        ("03/03/98", date(1998, 3, 3), False),
        ("3/4/98", date(1998, 3, 4), True),  # in the United States, and in Spain
        ("03/04/1998", date(1998, 4, 3), False),  # where both are padded, the day comes first
        ("25/12/1998", date(1998, 12, 25), False),
        ("1998-03-04", date(1998, 3, 4), False),
        ("3 mars 1998", date(1998, 3, 3), False),
    ],
)
def test_what_could_be_two_dates(text, day, another):
    assert dates._has_another_meaning(text, day) == another


def test_no_text_of_the_data_has_two_meanings_and_no_day_is_in_two_splits():
    data = dates.dates_data(batch=200, seed=0)
    learned = [pair for step in range(20) for pair in data.of_step(step)]
    meanings = {}
    for source, target in [*learned, *data.validation, *(pair for some in data.tests.values() for pair in some)]:
        assert meanings.setdefault(source, target) == target
    days = [{pair.target for pair in some} for some in (learned, data.validation, data.tests["held-out days"])]
    assert not days[0] & days[1] and not days[0] & days[2] and not days[1] & days[2]
    data.encoding.batch([*learned, *data.validation])  # nothing is unknown, nor too long
    assert data.of_step(3) == dates.dates_data(200, 0).of_step(3) != dates.dates_data(200, 1).of_step(3)


def test_what_files_hold_beside_pairs_is_left_out(tmp_path):
    """A byte order mark, empty lines, and a third column, as tutorials' files have it."""
    lines = ["a\tb\tCC-BY 2.0", "", "c\td", "   ", "e\tf\t\tg"]
    (tmp_path / "pairs.tsv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert tsv.read_pairs(tmp_path / "pairs.tsv", Settings()) == [Pair("a", "b"), Pair("c", "d"), Pair("e", "f")]


def test_combining_characters_are_composed_if_asked_for(tmp_path):
    (tmp_path / "pairs.tsv").write_text("e\u0301\ta\u0308")
    assert tsv.read_pairs(tmp_path / "pairs.tsv", Settings()) == [Pair("e\u0301", "a\u0308")]
    assert tsv.read_pairs(tmp_path / "pairs.tsv", Settings(nfc=True)) == [Pair("\u00e9", "\u00e4")]


def test_a_long_pair_is_padded_for_in_its_own_batch_alone(tmp_path):
    lines = [f"{n:0{3 + n % 6}d}\t{n}" for n in range(400)]
    (tmp_path / "pairs.tsv").write_text("\n".join([*lines, f"{'9' * 190}\t{'8' * 100}"]))
    data = tsv.pairs_data(tmp_path / "pairs.tsv", Settings(batch=32))
    steps = [data.of_step(step) for step in range(11)]
    arrays = [data.encoding.fitted_to(pairs).batch(pairs) for pairs in steps]
    shapes = [(*batch.source.shape, len(batch.target)) for batch in arrays]
    assert all(
        batch.source_lengths.max() <= s and batch.target_lengths.max() <= t
        for batch, (s, _, t) in zip(arrays, shapes, strict=True)
    )
    assert sorted(set(shapes)) == [(6, 32, 4), (12, 32, 4), (190, 32, 101)]
    assert shapes.count((190, 32, 101)) == 1
    spread = [max(map(len, sources)) - min(map(len, sources)) for sources in ([p.source for p in s] for s in steps)]
    assert sorted(spread)[9] <= 1  # of all but the longest's; unsorted, nearly every batch has a 1 and a 6


def test_lines_are_split_by_source_and_each_epoch_has_every_line(tmp_path):
    lines = [f"{n % 40}\t{n}" for n in range(80)]  # two targets a source
    (tmp_path / "pairs.tsv").write_text("\n".join(lines))
    data = tsv.pairs_data(tmp_path / "pairs.tsv", Settings(batch=18))
    held = [{pair.source for pair in some} for some in (data.validation, data.tests["held-out sources"])]
    assert [len(sources) for sources in held] == [2, 2] and not held[0] & held[1]
    epochs = [[pair for step in range(4 * e, 4 * e + 4) for pair in data.of_step(step)] for e in range(2)]
    learned = set(epochs[0])
    assert learned == set(epochs[1]) and epochs[0] != epochs[1]
    assert len(learned) == 72 and not {source for source, _ in learned} & (held[0] | held[1])
