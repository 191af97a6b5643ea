"""haiku's recurrent cores: hk.LSTM, hk.GRU and hk.VanillaRNN.

    ours                        haiku's
    lstm                        NAME/linear: w [I + H, 4·H] is U above W, in gates i, g, f, o; b
                                haiku adds 1 to its forget gate: our b's block f is its + 1
    gru_reset_before            NAME: w_i, w_h, b, in gates z, r, a; haiku's z is 1 − u: its block z is −(our u's)
    rnn_cell(relu)              NAME/linear: w is U; NAME/linear_1: w is W; b is the sum of theirs
    Bidirectional               two cores

A layer of ours without a bias gets zeros (and −1 for the 1). What is moved by 1 is rounded once, in the parameters'
dtype, as haiku itself rounds it at every step: b's block f comes back bit by bit where it is at least 0.5, as an
initial 1 is; everything else always does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru_reset_before import gru_reset_before
from jbptt.cells.lstm import lstm
from jbptt.feedforward.activations import relu
from jbptt.interop.network import Arrays, Converted, bias_of, exchanged, in_kinds, of_cell, of_layers, one_bias
from jbptt.networks.layers import Layer

Name = str | tuple[str, str]
NAMES = {"lstm": "lstm", "gru_reset_before": "gru", "rnn_relu": "vanilla_rnn"}
"""What haiku calls the first core of each kind; the second is lstm_1, and so on."""


def from_haiku(params: Mapping[str, Any], names: Sequence[Name] | None = None) -> Converted:
    """The layers and parameters of recurrent cores of haiku's.

    - `params`: what `hk.transform(...).init` gives: {module's name: {parameter's name: array}}.
    - `names`: of the cores, one above the other, as "lstm" or "network/~/lstm_1"; a pair of names is a Bidirectional.
      Without them all of `params` must be cores that haiku numbered itself ("lstm", "lstm_1", ...).

    Returns (layers, params), as `jbptt.stack` takes them; the dtype stays. Raises ValueError for names that are not in
    `params`, for cores that ours have not, and where `names` must say which core is above which.
    """
    if not isinstance(params, Mapping) or not all(isinstance(of_one, Mapping) for of_one in params.values()):
        raise TypeError("params must be a mapping of mappings, as hk.transform's init gives")
    names = _numbered(params) if names is None else names
    layers = [(name,) if isinstance(name, str) else tuple(name) for name in names]
    if not layers or not all(len(layer) in (1, 2) for layer in layers):
        raise ValueError("names must be of at least one core; two of them in a pair are a Bidirectional")
    return of_layers([tuple(_ours(name, params) for name in layer) for layer in layers])


def to_haiku(
    layers: Sequence[Layer], params: Sequence[Any], names: Sequence[Name] | None = None
) -> dict[str, dict[str, Any]]:
    """haiku's parameters of these layers, as `hk.transform(...).apply` takes them.

    - `names`: of the cores, one for each layer, a pair for a Bidirectional; haiku's own numbering if not given, "lstm",
      "lstm_1", ..., with a Bidirectional's two one after the other.

    Raises ValueError for cells that haiku has not (it has lstm, gru_reset_before and rnn_cell(relu)), and for names
    that are not as many as the cells.
    """
    found = in_kinds(layers, params, "haiku", NAMES)
    cells = [cell for layer in found for cell in layer]
    if names is None:
        before = [[kind for kind, _ in cells[:number]].count(kind) for number, (kind, _) in enumerate(cells)]
        flat = [NAMES[kind] + (f"_{n}" if n else "") for (kind, _), n in zip(cells, before, strict=True)]
    else:
        flat = [one for name in names for one in ([name] if isinstance(name, str) else name)]
    if len(flat) != len(cells) or len(set(flat)) != len(cells):
        raise ValueError(f"names must be {len(cells)} different ones, one for each cell, got {flat}")
    theirs: dict[str, dict[str, Any]] = {}
    for name, (kind, arrays) in zip(flat, cells, strict=True):
        for module, of_module in _theirs(kind, arrays).items():
            if name + module in theirs:  # "a" of an LSTM has a/linear, which may be a GRU's name
                raise ValueError(f"names must not make two modules {name + module}, got {flat}")
            theirs[name + module] = {key: jnp.asarray(array) for key, array in of_module.items()}
    return theirs


def _numbered(params):
    """The names of all cores, by their numbers."""
    found = dict.fromkeys(re.sub(r"/linear(_1)?$", "", name) for name in params)
    stems = {re.sub(r"_\d+$", "", name) for name in found}
    if len(stems) != 1:
        raise ValueError(f"names must say which core is above which: params have {', '.join(found) or 'none'}")
    return sorted(found, key=lambda name: int((re.search(r"_(\d+)$", name) or [0, 0])[1]))


def _ours(name, params):
    modules = {module: params[name + module] for module in ("", "/linear", "/linear_1") if name + module in params}
    theirs = {
        f"{module}/{key}".strip("/"): np.asarray(array) for module, of in modules.items() for key, array in of.items()
    }
    given, of = set(theirs), f"haiku's {name}"
    if given == {"linear/w", "linear/b"}:
        w, b = theirs["linear/w"], theirs["linear/b"]
        if w.ndim != 2 or b.shape != w.shape[1:] or w.shape[1] % 4 or w.shape[0] <= w.shape[1] // 4:
            raise ValueError(f"{of} must be an LSTM's linear, w [I + H, 4·H] and b [4·H], got {w.shape} and {b.shape}")
        w, b, H = exchanged(w, 0, 2, 1, 3), exchanged(b, 0, 2, 1, 3), w.shape[1] // 4
        b[H : 2 * H] += np.ones(H, b.dtype)
        return of_cell(of, lstm, {"U": w[:-H], "W": w[-H:], "b": b})
    if given == {"w_i", "w_h", "b"}:
        arrays = {"U": theirs["w_i"], "W": theirs["w_h"], "b": theirs["b"]}
        if any(array.shape[-1:] != theirs["b"].shape or len(theirs["b"]) % 3 for array in arrays.values()):
            raise ValueError(f"{of} must be a GRU's w_i [I, 3·H], w_h [H, 3·H] and b [3·H]")
        return of_cell(of, gru_reset_before, {key: _of_gru(array) for key, array in arrays.items()})
    if given - {"linear_1/b"} == {"linear/w", "linear/b", "linear_1/w"}:
        b = theirs["linear/b"]
        b = one_bias(b, theirs["linear_1/b"]) if "linear_1/b" in theirs else b
        return of_cell(of, rnn_cell(relu), {"U": theirs["linear/w"], "W": theirs["linear_1/w"], "b": b})
    raise ValueError(f"{of} must be an LSTM's, a GRU's or a VanillaRNN's parameters, got {sorted(given) or 'none'}")


def _theirs(kind: str, params: Arrays) -> dict[str, Arrays]:
    """What a core holds, by the end of its modules' names."""
    U, W, b = params["U"], params["W"], bias_of(params)
    H = W.shape[0]
    if kind == "lstm":
        b = b.copy()
        b[H : 2 * H] -= np.ones(H, b.dtype)
        return {"/linear": {"w": exchanged(np.concatenate([U, W]), 0, 2, 1, 3), "b": exchanged(b, 0, 2, 1, 3)}}
    if kind == "gru_reset_before":
        return {"": {"w_i": _to_gru(U), "w_h": _to_gru(W), "b": _to_gru(b)}}
    return {"/linear": {"w": U, "b": b}, "/linear_1": {"w": W, "b": np.zeros_like(b)}}


def _of_gru(array):
    z, r, a = np.split(array, 3, axis=-1)
    return np.concatenate([r, -z, a], axis=-1)


def _to_gru(array):
    r, u, n = np.split(array, 3, axis=-1)
    return np.concatenate([-u, r, n], axis=-1)
