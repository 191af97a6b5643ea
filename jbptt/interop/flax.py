"""flax's recurrent layers, of nnx and of linen: RNN and Bidirectional around LSTMCell, OptimizedLSTMCell, GRUCell and
SimpleCell.

    ours                nnx's                                      linen's
    U [I, G·H]          dense_i.kernel (LSTMCell: ii, if_, ig, io)  i + gate, "kernel": a matrix [I, H] a gate
    W [H, G·H]          dense_h.kernel (LSTMCell: hi, hf, hg, ho)   h + gate, "kernel"
    b, lstm's           dense_h.bias                               h + gate, "bias"
    b, gru's and rnn's  dense_i.bias                               i + gate, "bias"
    bn [H], gru's       nnx.GRUCell has none                       "hn", "bias"
    Bidirectional       forward_rnn, backward_rnn                  "forward_rnn", "backward_rnn"

The gates are in our order: i, f, g, o and r, u (z in flax), n. A layer of ours without biases gets zeros where flax's
always has them. An nnx.GRUCell for ours with a "bn" is given a dense_h with a bias, in which bn stands last: it
computes the same; without "bn" it is flax's own.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru import gru_cell
from jbptt.cells.lstm import lstm_cell
from jbptt.feedforward.activations import Activation, relu, sigmoid, tanh
from jbptt.interop.network import (
    Arrays,
    Converted,
    bias_of,
    gru_biases,
    in_kinds,
    library,
    of_cell,
    of_layers,
    one_bias,
    recurrent_gru_bias,
)
from jbptt.networks.layers import Layer

KINDS = ("lstm", "gru", "rnn", "rnn_relu", "rnn_sigmoid")
GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ("",)}
SAME: dict[Activation, tuple[Any, ...]] = {
    tanh: (jnp.tanh, lax.tanh, jax.nn.tanh),
    sigmoid: (jax.nn.sigmoid, lax.logistic),
    relu: (jax.nn.relu,),
}
"""JAX's functions that our activations are."""


def from_flax(module: Any, variables: Any = None) -> Converted:
    """The layers and parameters of recurrent layers of flax's.

    - `module`: an RNN, a Bidirectional or a cell, of flax.nnx or of flax.linen, or a list of them, one above the other.
    - `variables`: of linen, whose modules hold none: what `module.init` gives ({"params": ...}), or a list of those.

    Returns (layers, params), as `jbptt.stack` takes them; the dtype stays. Whether an RNN is `time_major` makes no
    difference to its parameters: ours takes xs [T, B, I]; nor does its `carry_init`: ours begin with zeros, or with the
    states that `stack` is given. Raises ValueError for what ours have not: other activations and merge functions,
    residual cells, an RNN in reverse outside a Bidirectional; TypeError for other modules (MGUCell, ConvLSTMCell) and
    dtypes.
    """
    modules = list(module) if isinstance(module, (list, tuple)) else [module]
    if all(isinstance(one, library("flax.nnx").Module) for one in modules):
        if variables is not None:
            raise ValueError("variables must be left out: modules of flax.nnx hold their own")
        return of_layers([_directions(one, None) for one in modules])
    if not all(isinstance(one, library("flax.linen").Module) for one in modules):
        names = ", ".join(type(one).__name__ for one in modules)
        raise TypeError(f"module must be one of flax.nnx's or of flax.linen's, or a list of them, got {names}")
    variables = list(variables) if isinstance(variables, (list, tuple)) else [variables]
    if len(variables) != len(modules) or not all(hasattr(one, "keys") for one in variables):
        raise ValueError(f"variables must be what init gives for each of {len(modules)} modules of flax.linen")
    params = [one.get("params", one) for one in variables]
    return of_layers([_directions(*pair) for pair in zip(modules, params, strict=True)])


def to_flax(layers: Sequence[Layer], params: Sequence[Any], *, linen: bool = False) -> Any:
    """flax's modules of these layers, with their parameters and dtype.

    - `linen`: of flax.linen, not of flax.nnx.

    Returns a list of nnx.RNNs and nnx.Bidirectionals; for linen (a list of modules, a list of their variables). All are
    time-major, and return their last carry too. An LSTM is an OptimizedLSTMCell. Raises ValueError for cells that flax
    has not (it has lstm, gru and rnn with tanh, relu and sigmoid), ImportError without flax.
    """
    found = in_kinds(layers, params, "flax", KINDS)
    if linen:
        made = [_linen(layer) for layer in found]
        return [module for module, _ in made], [{"params": variables} for _, variables in made]
    return [_nnx(layer) for layer in found]


def _directions(module, params):
    """(cell, parameters) of each direction of a layer; `params` is linen's, None for nnx."""
    name = type(module).__name__
    if name != "Bidirectional":
        return (_cell(module, params),)
    if module.merge_fn is not type(module).merge_fn:
        raise ValueError(f"{name}.merge_fn must be flax's own, which joins both directions' features")
    sides = ("forward_rnn", "backward_rnn")
    if params is not None and set(params) != set(sides):
        raise ValueError(f"variables must be a Bidirectional's, {', '.join(sides)}, got {sorted(params)}")
    return tuple(_cell(getattr(module, side), None if params is None else params[side], True) for side in sides)


def _cell(module, params, within=False):
    if type(module).__name__ == "RNN":
        if module.reverse and not within:
            raise ValueError("RNN.reverse must be False: ours run in reverse only within a Bidirectional")
        params = params if params is None else params.get("cell", params)
        module = module.cell
    name = type(module).__name__
    kinds = {"LSTMCell": "lstm", "OptimizedLSTMCell": "lstm", "GRUCell": "gru", "SimpleCell": "rnn"}
    if name not in kinds:
        raise TypeError(f"ours have no {name}: a cell must be one of {', '.join(kinds)}")
    kind = kinds[name]
    if getattr(module, "residual", False):
        raise ValueError(f"{name}.residual must be False: ours have no such cell")
    if kind != "rnn" and module.gate_fn not in SAME[sigmoid]:
        raise ValueError(f"{name}.gate_fn must be sigmoid, got {module.gate_fn}")
    activation = next((ours for ours, same in SAME.items() if module.activation_fn in same), None)
    if activation is None or (kind != "rnn" and activation is not tanh):
        raise ValueError(f"{name}.activation_fn must be {_allowed(kind)}, got {module.activation_fn}")
    (U, input_bias), (W, bias) = _of_nnx(module, name) if params is None else _of_linen(params, kind, name)
    arrays = {"U": U, "W": W}
    if kind == "gru" and bias is not None and input_bias is not None:
        arrays |= gru_biases(input_bias, bias)
    elif bias is not None and input_bias is not None:
        arrays["b"] = one_bias(input_bias, bias)
    elif bias is not None or input_bias is not None:
        arrays["b"] = input_bias if bias is None else bias
    cells = {"lstm": lstm_cell, "gru": gru_cell, "rnn": lambda bias: rnn_cell(activation, bias=bias)}
    return of_cell(f"flax's {name}", cells[kind](bias="b" in arrays), arrays)


def _allowed(kind):
    return "tanh" if kind != "rnn" else "tanh, relu or sigmoid"


def _of_nnx(module, name):
    """((kernel, bias) of the inputs, (kernel, bias) of h), NumPy arrays; a bias is None where there is none."""
    sides = (
        [("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")] if name == "LSTMCell" else [("dense_i",), ("dense_h",)]
    )
    return [_joined([_linear_arrays(getattr(module, linear)) for linear in side]) for side in sides]


def _linear_arrays(linear):
    return np.asarray(linear.kernel[...]), None if linear.bias is None else np.asarray(linear.bias[...])


def _of_linen(params, kind, name):
    """The same of linen's parameters of one cell; those of a GRU's h have a bias at n alone."""
    names = {side: [side + gate for gate in GATES[kind]] for side in "ih"}
    if set(params) != {*names["i"], *names["h"]}:
        raise ValueError(f"variables must be a {name}'s, {', '.join(names['i'] + names['h'])}, got {sorted(params)}")
    if without := [name for name in params if "kernel" not in params[name]]:
        raise ValueError(f"variables must have a kernel for each of a {name}'s parts, {', '.join(without)} have none")
    sides = []
    for side in names.values():
        layers = [(np.asarray(params[name]["kernel"]), params[name].get("bias")) for name in side]
        if any(bias is not None for _, bias in layers):
            layers = [(kernel, np.zeros_like(kernel[0]) if bias is None else bias) for kernel, bias in layers]
        sides.append(_joined(layers))
    return sides


def _joined(layers):
    """(kernel, bias) of the gates side by side."""
    kernels, biases = zip(*layers, strict=True)
    return np.concatenate(kernels, axis=-1), None if biases[0] is None else np.concatenate(biases)


def _biases(kind: str, params: Arrays):
    """(that of the inputs, that of h), as `_of_linen` gives them."""
    if kind == "lstm":
        return None, bias_of(params)
    return bias_of(params), recurrent_gru_bias(params) if kind == "gru" else None


def _nnx(layer):
    nnx = library("flax.nnx")
    options = {"time_major": True, "return_carry": True}
    directions = [nnx.RNN(_nnx_cell(nnx, *one), **options) for one in layer]
    return nnx.Bidirectional(*directions, **options) if len(directions) == 2 else directions[0]


def _nnx_cell(nnx, kind, params):
    U, W = params["U"], params["W"]
    options = {"dtype": U.dtype, "param_dtype": U.dtype, "rngs": nnx.Rngs(0)}
    zeros = {"recurrent_kernel_init": nnx.initializers.zeros_init()}  # its own default cannot make bfloat16
    if kind == "lstm":
        cell = nnx.OptimizedLSTMCell(U.shape[0], W.shape[0], **options, **zeros)
    elif kind == "gru":
        cell = nnx.GRUCell(U.shape[0], W.shape[0], **options, **zeros)
    else:
        cell = nnx.SimpleCell(U.shape[0], W.shape[0], activation_fn=_activation(kind), **options, **zeros)
    input_bias, bias = _biases(kind, params)
    if kind == "gru" and "bn" in params:
        cell.dense_h = nnx.Linear(*W.shape, use_bias=True, **options)
    for linear, kernel, of_linear in ((cell.dense_i, U, input_bias), (cell.dense_h, W, bias)):
        linear.kernel[...] = jnp.asarray(kernel)
        if linear.bias is not None:
            linear.bias[...] = jnp.asarray(of_linear)
    return cell


def _activation(kind):
    """JAX's function for an `rnn` of this kind."""
    return {"rnn": jnp.tanh, "rnn_relu": jax.nn.relu, "rnn_sigmoid": jax.nn.sigmoid}[kind]


def _linen(layer):
    linen = library("flax.linen")
    options = {"time_major": True, "return_carry": True}
    modules, variables = zip(*(_linen_cell(linen, *one) for one in layer), strict=True)
    directions = [linen.RNN(module, **options) for module in modules]
    variables = [{"cell": one} for one in variables]
    if len(directions) == 1:
        return directions[0], variables[0]
    return linen.Bidirectional(*directions, **options), dict(
        zip(("forward_rnn", "backward_rnn"), variables, strict=True)
    )


def _linen_cell(linen, kind, params):
    H, dtype = params["W"].shape[0], params["U"].dtype
    options = {"dtype": dtype, "param_dtype": dtype}
    if kind in ("lstm", "gru"):
        module = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}[kind](H, **options)
    else:
        module, kind = linen.SimpleCell(H, activation_fn=_activation(kind), **options), "rnn"
    variables = {}
    for side, kernel, bias in zip("ih", (params["U"], params["W"]), _biases(kind, params), strict=True):
        for number, gate in enumerate(GATES[kind]):
            block = slice(number * H, (number + 1) * H)
            variables[side + gate] = {"kernel": jnp.asarray(kernel[:, block])}
            if bias is not None and (kind != "gru" or side == "i" or gate == "n"):
                variables[side + gate]["bias"] = jnp.asarray(bias[block])
    return module, variables
