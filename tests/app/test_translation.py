"""`jbptt train dates`, `jbptt train pairs` and `jbptt translate`: they learn, leave what they promise, and go on."""

import io
import json
import random
import shutil

import jax
import numpy as np
import pytest

from jbptt.app import program
from jbptt.app.checkpoints import Checkpoints
from jbptt.app.metrics import read_rows
from jbptt.app.tasks.translation import model, run
from jbptt.app.tasks.translation.settings import Settings

SMALL = ["--hidden", "8", "--batch", "4", "--steps", "6"]
LEARNS = ["--hidden", "32", "--batch", "32", "--steps", "250", "--learning-rate", "0.02"]


def reversals(number):
    """Lines that are to be turned round, of two to five letters out of three."""
    draw = random.Random(1)
    sources = sorted({"".join(draw.choices("abc", k=draw.randint(2, 5))) for _ in range(number)})
    return "".join(f"{source}\t{source[::-1]}\n" for source in sources)


@pytest.fixture(scope="package")
def trained(tmp_path_factory, as_a_user_has_it):
    """A run that has learnt to turn letters round, in the folder `run`."""
    folder = tmp_path_factory.mktemp("translation")
    (folder / "pairs.tsv").write_text(reversals(300))
    options = ["--pairs", str(folder / "pairs.tsv"), *LEARNS, "--baseline", "--out", str(folder / "run")]
    assert program.main(["train", "pairs", *options]) == 0
    return folder


@pytest.fixture
def learned(trained, here):
    """That run, to spoil, as `run` in the current folder."""
    shutil.copytree(trained / "run", here / "run")
    return here / "run"


@pytest.fixture
def words(here):
    """A file of numbers in words and in digits, where tokens are what whitespace separates."""
    names = ["one", "two", "three", "four", "five"]
    pairs = [(a, b) for a in range(5) for b in range(5)]
    lines = [f"{names[a]}  {names[b]}\t{a + 1} {b + 1}" for a, b in pairs]
    (here / "words.tsv").write_text("\r\n".join(lines))
    return "words.tsv"


def test_learns_and_leaves_what_it_promises(jbptt, learned):
    table = (learned / "results.md").read_text().splitlines()
    assert table[0].split("|")[2:4] == [" bahdanau, exact match ", " bahdanau, nats a token "]
    assert "no attention, exact match" in table[0]
    exact = float(table[2].split("|")[2].strip().removesuffix("%"))
    assert exact > 90
    for picture in ("alignments.png", "loss.png"):
        assert (learned / picture).read_bytes().startswith(b"\x89PNG")
    assert read_rows(learned)[-1]["step"] == 250
    assert not list(learned.glob(".*"))


def test_translates_from_a_run_and_from_a_checkpoint(jbptt, learned):
    assert jbptt("translate", "run", "abc", "cab")[:2] == (0, "cba\nbac\n")
    status, out, _ = jbptt("translate", "run/checkpoints/250", "ab", "--json", "--beams", 1, "--heat-map", "map.png")
    result = json.loads(out)
    assert status == 0
    assert (result["source"], result["translation"]) == ("ab", "ba")
    assert -1 < result["log_probability"] < 0
    assert (learned.parent / "map.png").read_bytes().startswith(b"\x89PNG")


def test_translates_the_lines_of_a_file_and_of_standard_input(jbptt, learned, monkeypatch):
    lines = "abc\n\ncab\r\n".encode("utf-8-sig")
    (learned.parent / "lines.txt").write_bytes(lines)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    for file in ("lines.txt", "-"):
        assert jbptt("translate", "run", "ab", "--file", file)[:2] == (0, "ba\ncba\n\nbac\n"), "an empty line stays one"


def test_gives_the_best_of_the_beams_in_order(jbptt, learned):
    _, out, _ = jbptt("translate", "run", "abc", "ab", "--beams", 4, "--n-best", 3, "--json")
    results = [json.loads(line) for line in out.splitlines()]
    assert [(each["source"], each["rank"]) for each in results] == [(s, n) for s in ("abc", "ab") for n in (1, 2, 3)]
    assert results[0]["translation"] == "cba" and len({each["translation"] for each in results[:3]}) == 3
    assert results[0]["log_probability"] > max(each["log_probability"] for each in results[1:3])


def test_lists_of_the_best_are_apart(jbptt, learned):
    lines = jbptt("translate", "run", "abc", "ab", "--n-best", 2)[1].splitlines()
    assert [lines[0], lines[2], lines[3], len(lines)] == ["cba", "", "ba", 5]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ab", "--beams", 2, "--n-best", 3), "--n-best 3 is more than --beams 2"),
        ((), "TEXT must be given, or a --file"),
        (("--file", "none.txt"), "--file none.txt cannot be read"),
        (("--heat-map", "m.png", *["ab"] * 51), "--heat-map draws up to 50 texts"),
    ],
)
def test_bad_translations(fails, learned, arguments, says):
    assert says in fails("translate", "run", *arguments)


@pytest.mark.parametrize(
    "options",
    [
        ("--attention", "none", "--encoder", "reversed"),
        ("--attention", "luong_dot", "--encoder", "forward", "--dtype", "bfloat16"),
        ("--attention", "luong_concat", "--encoder", "reversed", "--layers", "2", "--cell", "lstm_projected"),
        ("--min-count", "2", "--baseline"),
    ],
)
def test_options_train_and_translate(jbptt, words, options):
    assert jbptt("train", "pairs", "--pairs", words, *SMALL, "--tokens", "words", *options, "--out", "r")[0] == 0
    assert jbptt("translate", "r", "one two")[0] == 0


def test_resumed_run_equals_uninterrupted_bit_by_bit(jbptt, words, here, monkeypatch, interrupt_after):
    options = ["train", "pairs", *SMALL, "--pairs", words, "--dropout", "0.3", "--recurrent-dropout", "0.2"]
    assert jbptt(*options, "--out", "whole")[0] == 0
    interrupt_after(run, "_train_step", 3)
    status, out, _ = jbptt(*options, "--out", "part")
    assert status == 130 and "interrupted at step 3" in out and "train pairs --resume --out part" in out
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert jbptt("train", "pairs", "--resume", "--out", "part")[0] == 0
    carries = [final_carry(here / name, 6) for name in ("whole", "part")]
    for a, b in zip(*map(jax.tree.leaves, carries), strict=True):
        np.testing.assert_array_equal(a, b)


def final_carry(folder, step):
    config = json.loads((folder / "config.json").read_text())
    settings = Settings(**config["settings"])
    return Checkpoints(folder).restore(step, model.init(settings, run._encoding(config, settings)))


def test_dates(jbptt, here):
    """A few steps of the whole command: three held-out sets, both models; and its end again."""
    status, out, _ = jbptt("train", "dates", *SMALL, "--json", "--out", "r")
    end = json.loads(out.splitlines()[-1])
    assert json.loads(jbptt("train", "dates", "--resume", "--out", "r", "--json")[1].splitlines()[-1]) == end
    assert status == 0
    assert list(end["results"]) == ["bahdanau", "none"]
    for sets in end["results"].values():
        assert list(sets) == ["held-out days", "and an unseen format", "and unseen locales"]
        assert all(0 < each["nats"] < 4 for each in sets.values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "bad.tsv cannot be read: No such file or directory"),
        (b"", "bad.tsv is empty"),
        (b"\n\n", "bad.tsv is empty"),
        (b"a\tb\n\xff\tc\n", "bad.tsv is not UTF-8 (byte 4)"),
        (b" \n\r\n", "bad.tsv is empty"),
        (b"a\tb\n\nc d\n", "line 3: must be SOURCE<tab>TARGET, has one column"),
        (b"\tb\n", "line 1: the source is empty"),
        (b"a\tb\nb\t\n", "line 2: the target is empty"),
        (b"a\tb\nb\t" + b"x" * 11 + b"\n", "line 2: the target has 11 tokens, more than --longest 10"),
        (b"a\tb\nb\tc\na\td\n", "holds 2 different sources, at least 3"),
    ],
)
def test_bad_pairs(fails, here, content, says):
    if content is not None:
        (here / "bad.tsv").write_bytes(content)
    assert says in fails("train", "pairs", "--pairs", "bad.tsv", *SMALL, "--longest", 10)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--attention", "luong_dot"), "--attention luong_dot --encoder bidirectional"),
        (("--cell", "gru_heads", "--hidden", "6"), "--cell gru_heads --hidden 6: hidden_size must be a multiple"),
        (("--learning-rate", "2e38"), "is no number: start again with a smaller --learning-rate"),
    ],
)
def test_options_that_do_not_go_together(fails, words, options, says):
    assert says in fails("train", "pairs", "--pairs", words, *SMALL, *options)


def test_no_pairs(fails, here):
    assert "--pairs must name a file" in fails("train", "pairs")


def test_a_source_of_spaces_has_no_words(fails, here):
    (here / "bad.tsv").write_text("a\tb\n  \tc\n")
    assert "line 2: the source is empty" in fails("train", "pairs", "--pairs", "bad.tsv", "--tokens", "words")


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "at least one token"), ("abd", "holds 'd', which is not in the vocabulary"), ("abcabc", "has 6 tokens")],
)
def test_bad_text(fails, learned, text, says):
    assert says in fails("translate", "run", "ab", text)


def test_bad_checkpoint(fails, learned, here):
    config = json.loads((learned / "config.json").read_text())
    for change, says in [
        ({"source_tokens": [1]}, "source_tokens"),
        ({"target_size": "x"}, "target_size"),
        ({"pairs": 3}, "pairs"),
    ]:
        (learned / "config.json").write_text(json.dumps(config | change))
        assert says in fails("translate", "run", "ab")
    (learned / "config.json").write_text(json.dumps(config | {"source_tokens": ["a", "b"]}))
    assert "another configuration" in fails("translate", "run", "ab")
    (learned / "config.json").write_text(json.dumps(config | {"task": "chars"}))
    assert "must hold a run of train dates or pairs" in fails("translate", "run", "ab")
    assert "not the folder of a run" in fails("translate", "nowhere", "ab")


def test_a_heat_map_needs_attention_and_a_folder(fails, jbptt, words, learned):
    assert jbptt("train", "pairs", "--pairs", words, *SMALL, "--attention", "none", "--out", "r")[0] == 0
    assert "--heat-map no/a.png cannot be written" in fails("translate", "run", "ab", "--heat-map", "no/a.png")
    assert "--heat-map needs a model with attention" in fails("translate", "r", "one two", "--heat-map", "a.png")


def test_resume_with_other_pairs(fails, learned, here):
    (here / "other.tsv").write_text(reversals(10))
    assert "not what run was trained on" in fails("train", "pairs", "--resume", "--out", "run", "--pairs", "other.tsv")
    assert "--hidden 16 contradicts" in fails("train", "pairs", "--resume", "--out", "run", "--hidden", 16)
    assert "must hold a run of train dates" in fails("train", "dates", "--resume", "--out", "run")
