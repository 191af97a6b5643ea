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
    "lstm": ({}, "ifgo"),
    "lstm_nig": ({"input_gate": False}, "fgo"),
    "lstm_nfg": ({"forget_gate": False}, "igo"),
    "lstm_nog": ({"output_gate": False}, "ifg"),
    "lstm_niaf": ({"input_activation": False}, "ifgo"),
    "lstm_noaf": ({"output_activation": False}, "ifgo"),
    "lstm_cifg": ({"coupled": True}, "igo"),
}
"""Options of `lstm_cell`, and the blocks that are saved, of which all but g may have peepholes."""


class Kernel(NamedTuple):
    """- `kind`: its name in the library.
    - `saves`: the vectors of a step that it saves, by the fields of what the rule's step saves; "h" where that is h.
    - `peepholes`: the gates that see the cell state, among "ifo".
    """

    kind: str
    saves: str
    peepholes: str = ""


@cache
def kernels() -> dict[Rule, Kernel]:
    """Every rule that a kernel can run."""
    table = {gru.rule: Kernel("gru", "runm")}
    table |= {rnn_cell(f).rule: Kernel(f"rnn_{f.name}", "h") for f in (tanh, relu, sigmoid)}
    for kind, (options, saves) in LSTMS.items():
        for chosen in product(*[("", gate) for gate in saves if gate != "g"]):
            peepholes = "".join(chosen)
            table[lstm_cell(**options, peepholes=peepholes).rule] = Kernel(kind, saves, peepholes)
    return table
