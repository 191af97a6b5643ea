"""Which rules there are kernels for. The table is keyed by the rule, so that no cell names a kernel, and a rule with
one function replaced has none."""

from functools import cache
from itertools import product
from typing import NamedTuple

from jbptt.cells.elman import rnn_cell
from jbptt.cells.gru import gru
from jbptt.cells.lstm import lstm_cell
from jbptt.cells.rule import Rule
from jbptt.feedforward.activations import relu, sigmoid, tanh

LSTMS = {
    "lstm": ({}, "ifo"),
    "lstm_nig": ({"input_gate": False}, "fo"),
    "lstm_nfg": ({"forget_gate": False}, "io"),
    "lstm_nog": ({"output_gate": False}, "if"),
    "lstm_niaf": ({"input_activation": False}, "ifo"),
    "lstm_noaf": ({"output_activation": False}, "ifo"),
    "lstm_cifg": ({"coupled": True}, "io"),
}
"""Options of `lstm_cell`, and the gates that may have peepholes."""


class Kernel(NamedTuple):
    """- `kind`: its name in the library.
    - `peepholes`: the gates that see the cell state, among "ifo".
    """

    kind: str
    peepholes: str = ""


@cache
def kernels() -> dict[Rule, Kernel]:
    """Every rule that a kernel can run."""
    table = {gru.rule: Kernel("gru")}
    table |= {rnn_cell(f).rule: Kernel(f"rnn_{f.name}") for f in (tanh, relu, sigmoid)}
    for kind, (options, gates) in LSTMS.items():
        for chosen in product(*[("", gate) for gate in gates]):
            peepholes = "".join(chosen)
            table[lstm_cell(**options, peepholes=peepholes).rule] = Kernel(kind, peepholes)
    return table
