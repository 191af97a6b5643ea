"""`jbptt cells`: a line for every cell."""

import json

from jbptt.cells.table import CELLS


def test_every_cell_in_json(jbptt):
    status, out, _ = jbptt("cells", "--sizes", "5,8", "--json")
    rows = {row["cell"]: row for row in map(json.loads, out.splitlines())}
    assert (status, list(rows)) == (0, list(CELLS))
    assert rows["lstm"]["parameters"] == 4 * (5 * 8 + 8 * 8 + 8)
    assert rows["lstm"]["state"] == {"h": [8], "c": [8]}
    assert rows["lstm_projected"]["state"] == {"h": [4], "c": [8]}


def test_markdown(jbptt):
    status, out, _ = jbptt("cells")
    head, rule, *lines = out.splitlines()
    assert status == 0
    assert head.startswith("| cell ") and set(rule) <= set("|-: ")
    assert [line.split()[1] for line in lines] == list(CELLS)
    assert len({len(line) for line in (head, rule, *lines)}) == 1, "columns are aligned"


def test_sizes_that_some_cells_cannot_have(jbptt, fails):
    status, out, _ = jbptt("cells", "--sizes", "5,6", "--json")
    rows = {row["cell"]: row for row in map(json.loads, out.splitlines())}
    assert (status, list(rows)) == (0, list(CELLS))
    assert rows["rnn_heads"]["reason"] == "hidden_size must be a multiple of heads = 4, got 6"
    assert "hidden_size must be a multiple of heads = 4, got 6" in jbptt("cells", "--sizes", "5,6")[1]
    assert "--sizes must be numbers" in fails("cells", "--sizes", "5")


def test_so_do_the_other_commands(fails, text):
    assert "slstm" in fails("compare", "--row", "slstm", "--sizes", "2,2,3,6")
    small = ["--length", "5", "--batch", "4", "--hidden", "6"]
    assert "--cell slstm --hidden 6" in fails("train", "chars", text, *small, "--cell", "slstm")
