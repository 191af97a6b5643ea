"""`jbptt compare`: a line for every row, and an exit status that a program may trust."""

import json

from jbptt.app import compare_table
from jbptt.comparison.rows import ROWS

SIZES = ("--sizes", "5,2,3,4", "--rounds", "1")


KINDS = ["softmax_cross_entropy", "mlp", "gru", "simo"]


def test_figures_of_each_kind_of_row(jbptt):
    status, out, _ = jbptt("compare", *SIZES, "--json", *(word for name in KINDS for word in ("--row", name)))
    figures = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [f["row"] for f in figures] == KINDS
    assert all(f["error"] <= 1e-12 and f["manual_ms"] > 0 and f["auto_ms"] > 0 for f in figures)


def test_all_rows_by_default():
    assert compare_table.chosen_rows(()) == list(ROWS)


def test_markdown(jbptt):
    status, out, _ = jbptt("compare", *SIZES, "--row", "lstm", "--row", "mlp")
    head, rule, *lines = out.splitlines()
    assert status == 0
    assert head.startswith("| row ") and set(rule) <= set("|-: ")
    assert [line.split()[1] for line in lines] == ["lstm", "mlp"]


def test_an_error_above_tolerance_fails(jbptt, monkeypatch):
    monkeypatch.setattr(compare_table, "TOLERANCE", -1.0)
    assert jbptt("compare", *SIZES, "--row", "dense")[0] == 1
