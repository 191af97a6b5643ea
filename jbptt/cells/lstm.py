"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000), and its variants.

    (zi, zf, zg, zo) = x U + b + h⁻ W
    i = σ(zi)   f = σ(zf)   g = tanh(zg)   o = σ(zo)
    c = f ⊙ c⁻ + i ⊙ g      h = o ⊙ tanh(c)          (c⁻ is the cell state before the step)

Backward, from dh and dc (∂C/∂h and ∂C/∂c after the step):

    dc ← dc + dh ⊙ o ⊙ (1 − tanh²(c))                the output's way into the cell state
    δi = dc ⊙ g ⊙ i (1 − i)        δf = dc ⊙ c⁻ ⊙ f (1 − f)
    δg = dc ⊙ i ⊙ (1 − g²)         δo = dh ⊙ tanh(c) ⊙ o (1 − o)
    dc⁻ = dc ⊙ f                   dh⁻ = Wᵀ δ
    ∂C/∂W = Σ_t δᵗ (hᵗ⁻¹)ᵀ         ∂C/∂U = Σ_t δᵗ (xᵗ)ᵀ         ∂C/∂b = Σ_t δᵗ

Peepholes (Gers and Schmidhuber 2000) let gates see the cell state: zi and zf gain pi ⊙ c⁻ and pf ⊙ c⁻, zo gains
po ⊙ c, the new one. Backward, dc gains po ⊙ δo before δi, δf and δg are formed, dc⁻ gains pi ⊙ δi + pf ⊙ δf, and

    ∂C/∂pi = Σ_t δiᵗ ⊙ cᵗ⁻¹        ∂C/∂pf = Σ_t δfᵗ ⊙ cᵗ⁻¹        ∂C/∂po = Σ_t δoᵗ ⊙ cᵗ

A gate that is left out is 1 and has neither weights nor δ. A coupled forget gate is f = 1 − i, so that
δi = dc ⊙ (g − c⁻) ⊙ i (1 − i). An activation that is left out is the identity, and its derivative 1.

Full gate recurrence: (zi, zf, zo) gain (i⁻, f⁻, o⁻) R, the gates of the step before through nine matrices. Backward,
(di⁻, df⁻, do⁻) = Rᵀ (δi, δf, δo), which joins dc ⊙ g, dc ⊙ c⁻ and dh ⊙ tanh(c) one step earlier; and
∂C/∂R = Σ_t (δi, δf, δo)ᵗ ((i, f, o)ᵗ⁻¹)ᵀ.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

from jbptt import checks
from jbptt.cells.gated import gated_cell, gated_init
from jbptt.cells.lstm_pair import Form, LSTMGatesState, LSTMState, lstm_pair
from jbptt.cells.making import maker
from jbptt.cells.pieces import maker_name, with_params
from jbptt.cells.products import block_diagonal, transposed
from jbptt.cells.rule import Cell, Params, Rule


@maker
def lstm_cell(
    *,
    bias: bool = True,
    forget_bias: float | None = None,
    input_gate: bool = True,
    forget_gate: bool = True,
    output_gate: bool = True,
    coupled: bool = False,
    input_activation: bool = True,
    output_activation: bool = True,
    peepholes: str = "",
    gate_recurrence: bool = False,
    heads: int = 1,
) -> Cell:
    """Long short-term memory and its variants.

    - `bias`: whether `init` makes a "b".
    - `forget_bias`: what `init` puts into b's forget block, 1 if not given (Jozefowicz 2015); the forward adds nothing.
    - `input_gate`, `forget_gate`, `output_gate`: False leaves the gate out: it is 1.
    - `coupled`: f = 1 − i, without weights of its own.
    - `input_activation`, `output_activation`: False leaves out the tanh of the block's input or output.
    - `peepholes`: the gates that see the cell state: some of "ifo", in that order.
    - `gate_recurrence`: the gates see the gates of the step before.
    - `heads`: W is block-diagonal, so many blocks; H must be a multiple.

    Parameters, gate blocks i, f, g, o less those left out: "U" [I, G·H], "W" [H, G·H] (with heads: [heads, H/heads,
    G·H/heads]), "b" [G·H], "p" [H for each peephole], "R" [3·H, 3·H]. State: h, c; with gate recurrence also i, f, o.
    Raises ValueError for options that contradict each other.
    """
    flags = {"bias": bias, "input_gate": input_gate, "forget_gate": forget_gate, "output_gate": output_gate}
    flags |= {"coupled": coupled, "input_activation": input_activation, "output_activation": output_activation}
    for flag, value in (flags | {"gate_recurrence": gate_recurrence}).items():
        checks.flag(flag, value)
    if forget_bias is not None:
        checks.finite("forget_bias", forget_bias)
    present = {"i": input_gate, "f": forget_gate and not coupled, "g": True, "o": output_gate}
    own = "".join(gate for gate in present if present[gate])
    if coupled and not (input_gate and forget_gate):
        raise ValueError("coupled=True is f = 1 − i, which needs both gates: leave input_gate and forget_gate in")
    if not isinstance(peepholes, str) or peepholes != "".join(gate for gate in "ifo" if gate in peepholes):
        raise ValueError(f'peepholes must be some of "ifo", in that order, got {peepholes!r}')
    if not set(peepholes) <= set(own):
        raise ValueError(f"peepholes {peepholes!r} are for gates with weights of their own, and here these are {own!r}")
    if gate_recurrence and own != "ifgo":
        raise ValueError("gate_recurrence=True needs all three gates, with weights of their own")
    if forget_bias is not None and not (bias and "f" in own):
        raise ValueError(f"forget_bias {forget_bias} has no bias to go into: leave it out, or leave bias and gate in")
    form = Form(own, peepholes, bool(coupled), bool(input_activation), bool(output_activation), bool(gate_recurrence))
    product, forget_bias = block_diagonal(heads), 1.0 if forget_bias is None else float(forget_bias)
    name = maker_name(
        "lstm",
        bias=(bool(bias), True),
        forget_bias=(forget_bias, 1.0),
        input_gate=(bool(input_gate), True),
        forget_gate=(bool(forget_gate), True),
        output_gate=(bool(output_gate), True),
        coupled=(form.coupled, False),
        input_activation=(form.input_activation, True),
        output_activation=(form.output_activation, True),
        peepholes=(peepholes, ""),
        gate_recurrence=(form.gate_recurrence, False),
        heads=(int(heads), 1),
    )
    return _lstm_cell(name, form, bool(bias), forget_bias, product)


@cache
def _lstm_cell(name, form, bias, forget_bias, product):
    gates = len(form.blocks)
    others: dict[str, tuple[int, ...]] = {"p": (len(form.peepholes),)} if form.peepholes else {}
    others |= {"R": (3, 3)} if form.gate_recurrence else {}
    pointwise, pointwise_vjp, pointwise_weight_vjp = lstm_pair(form)
    cell = gated_cell(
        name,
        gates=gates,
        state_type=LSTMGatesState if form.gate_recurrence else LSTMState,
        init=forgetting_little(gated_init(gates, bias=bias, product=product, others=others), form.blocks, forget_bias),
        pointwise=pointwise,
        pointwise_vjp=pointwise_vjp,
        pointwise_weight_vjp=pointwise_weight_vjp,
        product=product,
        others=others,
        reference="Hochreiter and Schmidhuber 1997, Gers 2000" if form == Form() else "Greff 2017",
    )
    return cell._replace(rule=_gate_recurrent(cell.rule)) if form.gate_recurrence else cell


@cache
def _gate_recurrent(rule: Rule) -> Rule:
    def prepare_backward(consts):
        return with_params(rule.prepare_backward(consts), RT=transposed(consts.params["R"]))

    return rule._replace(prepare_backward=prepare_backward)


def forgetting_little(
    plain_init: Callable[..., Params], blocks: str = "ifgo", forget_bias: float = 1.0
) -> Callable[..., Params]:
    """`plain_init`, and b's forget block, if there is one, filled with `forget_bias`."""

    def init(key: jax.Array, input_size: int, hidden_size: int, dtype=jnp.float32) -> Params:
        params = plain_init(key, input_size, hidden_size, dtype)
        if "b" in params and "f" in blocks:
            start = blocks.index("f") * hidden_size
            params["b"] = params["b"].at[start : start + hidden_size].set(forget_bias)
        return params

    return init


lstm = lstm_cell()

LSTM_VARIANTS: dict[str, Cell] = {
    "V": lstm_cell(peepholes="ifo"),
    "NIG": lstm_cell(peepholes="fo", input_gate=False),
    "NFG": lstm_cell(peepholes="io", forget_gate=False),
    "NOG": lstm_cell(peepholes="if", output_gate=False),
    "NIAF": lstm_cell(peepholes="ifo", input_activation=False),
    "NOAF": lstm_cell(peepholes="ifo", output_activation=False),
    "NP": lstm,
    "CIFG": lstm_cell(peepholes="io", coupled=True),
    "FGR": lstm_cell(peepholes="ifo", gate_recurrence=True),
}
"""The nine of "LSTM: A Search Space Odyssey" (Greff et al. 2017): vanilla, with peepholes; no input, forget or output
gate; no input or output activation; no peepholes; coupled input and forget gate; full gate recurrence."""
