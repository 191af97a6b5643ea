"""`jbptt.save` and `jbptt.load`: what is saved comes back bit by bit, and what is damaged or made up is told of."""

import json
import os
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import assert_same_bits, random_params

import jbptt
from jbptt.cells.making import maker
from jbptt.cells.table import CELLS
from jbptt.feedforward.activations import Activation

safetensors = pytest.importorskip("safetensors")

LAYERS = [jbptt.Bidirectional(jbptt.lstm, jbptt.lstm_cell(peepholes="io")), jbptt.gru]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_comes_back_bit_by_bit(path, dtype):
    params = random_params(LAYERS, dtype)
    params[1]["b"] = params[1]["b"].at[:3].set(jnp.asarray([-0.0, np.nan, np.inf], dtype))
    config = {"layers": LAYERS, "units": 6, "rate": 0.1, "names": ("a", "ß"), "none": None, "on": True}
    jbptt.save(path, params, config)
    back, back_config = jbptt.load(path)
    assert_same_bits(back, params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back))
    assert back_config == config


@pytest.mark.parametrize(
    "params",
    [
        jbptt.mlp_init(jax.random.key(0), [2, 3, 1]),
        {"empty": {}, "none": [None, ()]},
        {"scalar": jnp.asarray(1.0), "pair": (jnp.ones((0, 3)), [jnp.ones(1), None])},
    ],
    ids=["mlp", "nothing", "nested"],
)
def test_every_structure_comes_back(path, params):
    jbptt.save(path, params)
    back, config = jbptt.load(str(path))
    assert_same_bits(back, params)
    assert config is None


OF_MAKERS = [
    jbptt.lstm_cell(heads=np.int64(2), bias=False),
    jbptt.rnn_cell(jbptt.identity),
    jbptt.clockwork_cell([1, 3]),
    jbptt.indrnn_cell(jbptt.tanh),
    jbptt.slstm_cell(heads=2),
    jbptt.lstm_projected_cell(3),
    jbptt.lstm_depth_gated_cell(3),
    jbptt.lstm_layer_norm_cell(bias=False),
    jbptt.gru_reset_before_cell(bias=False),
    jbptt.mgu_cell(bias=False),
    jbptt.leaky_rnn_cell(alpha=0.5, mask=np.eye(2), signs=[1, -1]),
    jbptt.bahdanau_cell(jbptt.gru_cell(heads=2), attention_size=3),
    jbptt.luong_cell(jbptt.irnn, score="concat"),
    jbptt.Seq2Seq((jbptt.lstm,), (jbptt.luong_cell(jbptt.lstm),), reverse=True),
]


def test_every_cell_is_named(path):
    config = {"table": list(CELLS.values()), "made": OF_MAKERS}
    jbptt.save(path, {}, config)
    assert jbptt.load(path)[1] == config


def test_what_json_has_not_is_written_in_json(path):
    config = {"best": float("inf"), "rates": (-np.inf, np.float32("nan"), -0.0)}
    jbptt.save(path, {}, config)
    best, rates = jbptt.load(path)[1].values()
    np.testing.assert_array_equal((best, *rates), (np.inf, -np.inf, np.nan, -0.0), strict=True)
    with safetensors.safe_open(path, framework="numpy") as file:
        json.loads(file.metadata()["config"], parse_constant=pytest.fail)


def test_the_file_says_what_it_is(path):
    jbptt.save(path, random_params(LAYERS), LAYERS)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert {"0.0.U", "0.1.p", "1.bn"} < set(file.keys())
        texts = file.metadata()
        np.testing.assert_array_equal(file.get_tensor("1.bn"), jbptt.load(path)[0][1]["bn"])
    assert (texts["format"], texts["version"]) == ("jbptt 1", jbptt.__version__)
    peepholes = {"$cell": "lstm_cell", "options": {"peepholes": "io"}}
    assert json.loads(texts["config"]) == [{"$bidirectional": [{"$cell": "lstm"}, peepholes]}, {"$cell": "gru"}]


OWN = jbptt.lstm._replace(name="mine")


@maker
def lstm_cell():
    """Called as ours is."""
    return jbptt.lstm._replace(name="not ours")


SQUARE = Activation("square", jnp.square, lambda z: 2 * z, keeps="input")


@pytest.mark.parametrize(
    ("params", "config", "message"),
    [
        ({"a.b": jnp.ones(1)}, None, r"params must have identifiers for keys, as U, got 'a.b'"),
        ({"a": {"../b": jnp.ones(1)}}, None, r"params.a must have identifiers for keys, as U, got '../b'"),
        ({1: jnp.ones(1)}, None, "params must have identifiers for keys, as U, got 1"),
        ({"a": [1.0]}, None, r"params.a.0 must be .* arrays of float32, float64 or bfloat16, got float"),
        ({"a": jnp.arange(3)}, None, "params.a must be .* got int64"),
        (jnp.ones(3), None, "params must be dicts, lists and tuples of arrays"),
        (jbptt.GRUState(jnp.ones(3)), None, r"params is a GRUState: make it a dict with its _asdict\(\)"),
        ({}, {"cell": OWN}, r"config\['cell'\] is a cell of your own, mine, which a file cannot name"),
        ({}, (lstm_cell(),), r"config\[0\] is a cell of your own, not ours, which a file cannot name"),
        ({}, [jbptt.rnn_cell(SQUARE)], r"config\[0\].* is an activation of your own, square"),
        ({}, {"when": object()}, r"config\['when'\] must be of numbers, texts, .* got object"),
        ({}, {"$cell": "lstm"}, r"config must have texts for keys that do not begin with \$"),
        ({}, {1: 2}, "config must have texts for keys"),
    ],
)
def test_what_a_file_cannot_hold_is_named_and_nothing_is_written(path, params, config, message):
    with pytest.raises((TypeError, ValueError), match=message):
        jbptt.save(path, params, config)
    assert not path.exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch, step):
    jbptt.save(path, {"a": jnp.ones(3)})
    before = path.read_bytes()

    def full(*arguments):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="full"):
        jbptt.save(path, {"a": jnp.zeros(3)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_it_is_as_private_as_the_user_has_new_files(path):
    before = os.umask(0o077)
    try:
        jbptt.save(path, {"a": jnp.ones(3)})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def header_of(entry=None, **texts):
    """That of a file with one array, [2] of float32, changed."""
    metadata = {"format": "jbptt 1", "version": "0", "params": '{"a": "array"}', "config": "null"} | texts
    return {"__metadata__": metadata, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | (entry or {})}


EIGHT = b"\0" * 8
HOSTILE = {
    "empty": b"",
    "truncated length": b"\0\0\0",
    "truncated header": file_of(header_of(), EIGHT)[:20],
    "truncated arrays": file_of(header_of(), EIGHT)[:-1],
    "more than the arrays": file_of(header_of(), EIGHT + b"\0"),
    "a header beyond the file": struct.pack("<Q", 2**20) + b"{}",
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": file_of(b"\x80\x04pickle", EIGHT),
    "a list": file_of([1, 2]),
    "nesting": file_of(b'{"a":' * 100_000),
    "an unknown dtype": file_of(header_of({"dtype": "F33"}), EIGHT),
    "another dtype": file_of(header_of({"dtype": "I32"}), EIGHT),
    "float16": file_of(header_of({"dtype": "F16", "shape": [4]}), EIGHT),
    "complex": file_of(header_of({"dtype": "C64", "shape": [1]}), EIGHT),
    "negative offsets": file_of(header_of({"data_offsets": [-8, 0]}), EIGHT),
    "offsets beyond the file": file_of(header_of({"data_offsets": [0, 80], "shape": [20]}), EIGHT),
    "a negative size": file_of(header_of({"shape": [-2]}), EIGHT),
    "a size that overflows": file_of(header_of({"shape": [2**62, 2**62]}), EIGHT),
    "huge axes of nothing": file_of(header_of({"shape": [2**62, 0], "data_offsets": [0, 0]})),
    "another shape": file_of(header_of({"shape": [3]}), EIGHT),
    "overlapping": file_of(header_of() | {"b": header_of()["a"]}, EIGHT),
    "a name that is a path": file_of(
        {"__metadata__": header_of(params='{"../a": "array"}')["__metadata__"], "../a": header_of()["a"]}, EIGHT
    ),
    "no metadata": file_of({"a": header_of()["a"]}, EIGHT),
    "another format": file_of(header_of(format="jbptt 2"), EIGHT),
    "no structure": file_of(header_of(params="{}"), EIGHT),
    "a structure of more": file_of(header_of(params='{"a": "array", "b": "array"}'), EIGHT),
    "a structure of numbers": file_of(header_of(params='{"a": 1}'), EIGHT),
    "a structure that is no JSON": file_of(header_of(params="__import__('os')"), EIGHT),
    "a structure of nesting": file_of(header_of(params="[" * 100_000), EIGHT),
    "a config of nesting": file_of(header_of(config='{"a":' * 50_000 + "0" + "}" * 50_000), EIGHT),
    "an unknown cell": file_of(header_of(config='{"$cell": "os.system", "options": {"command": "true"}}'), EIGHT),
    "a cell that is no text": file_of(header_of(config='{"$cell": ["lstm"]}'), EIGHT),
    "options that are none": file_of(header_of(config='{"$cell": "lstm_cell", "options": [1]}'), EIGHT),
    "an option that there is not": file_of(header_of(config='{"$cell": "lstm_cell", "options": {"x": 1}}'), EIGHT),
    "an option that is wrong": file_of(header_of(config='{"$cell": "lstm_cell", "options": {"heads": -1}}'), EIGHT),
    "an option beyond every float": file_of(
        header_of(config=f'{{"$cell": "lstm_cell", "options": {{"forget_bias": 1{"0" * 400}}}}}'), EIGHT
    ),
    "an unhashable option": file_of(
        header_of(config='{"$cell": "rnn_cell", "options": {"activation": {"a": []}}}'), EIGHT
    ),
    "an unknown activation": file_of(header_of(config='{"$activation": "exec"}'), EIGHT),
    "an unknown tag": file_of(header_of(config='{"$import": "os"}'), EIGHT),
    "a float that is another": file_of(header_of(config='{"$float": "1_000"}'), EIGHT),
    "a float that is no text": file_of(header_of(config='{"$float": [1]}'), EIGHT),
    "a name of lines": file_of(
        header_of() | {"a\n\x1b[2J": {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}}, EIGHT
    ),
    "a long name": file_of(header_of() | {"a" * 9999: {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}}, EIGHT),
    "a long tag": file_of(header_of(config=json.dumps({"$" + "a" * 9999: 1})), EIGHT),
    "an option of a long name": file_of(
        header_of(config=json.dumps({"$cell": "lstm_cell", "options": {"a" * 9999: 1}})), EIGHT
    ),
    "a pair of three": file_of(header_of(config='{"$bidirectional": [1, 2, 3]}'), EIGHT),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_told_of_in_one_line(path, name):
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError) as raised:
        jbptt.load(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert message.isprintable() and len(message) < 500 + len(str(path))


def test_the_file_that_they_are_made_of_is_read(path):
    path.write_bytes(file_of(header_of(), EIGHT))
    assert_same_bits(jbptt.load(path)[0], {"a": jnp.zeros(2, jnp.float32)})


def test_every_truncation_is_told_of(path):
    jbptt.save(path, {"a": jnp.ones(3)}, {"cell": jbptt.lstm})
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 9), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no whole safetensors file"):
            jbptt.load(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        jbptt.load(tmp_path)
    with pytest.raises(ValueError, match="/dev/zero is no file"):
        jbptt.load("/dev/zero")
    with pytest.raises(FileNotFoundError):
        jbptt.load(tmp_path / "none")


def test_where_no_file_can_be_written_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"'{tmp_path}'$"):
        jbptt.save(tmp_path, {"a": jnp.ones(3)})
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path / 'none'}'$"):
        jbptt.save(tmp_path / "none" / "file", {"a": jnp.ones(3)})


def test_traced_parameters_have_no_numbers_to_be_saved(path):
    with pytest.raises(TypeError, match=r"params.a is traced, .* outside of jax.jit"):
        jax.jit(lambda a: jbptt.save(path, {"a": a}))(jnp.ones(3))
    assert not path.exists()


def test_float64_is_not_cut(path):
    jbptt.save(path, {"a": jnp.ones(3)})
    with jax.enable_x64(False), pytest.raises(TypeError, match=r"safetensors: a is float64, .*jax_enable_x64"):
        jbptt.load(path)


def test_without_safetensors_it_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'jbptt\[interop\]'"):
        jbptt.save(path, {})
    path.write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'jbptt\[interop\]'"):
        jbptt.load(path)
