"""The derivation to read is in step with its source and with the library, and every check in it holds."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")

FOLDER = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
REMEDY = "run: jupytext --to ipynb --execute notebooks/*.py"


def texts(notebook):
    """What each cell printed."""
    return ["".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in notebook.cells]


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_executed_notebook_is_the_committed_one_and_every_check_holds(source, tmp_path):
    notebook, committed = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert sources(notebook) == sources(committed), REMEDY
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300).execute(cwd=tmp_path)
    assert texts(notebook) == texts(committed), REMEDY
    checks = [line for text in texts(notebook) for line in text.splitlines() if "error <= 1e-12" in line]
    assert len(checks) > 15
    assert all(line.endswith("True") for line in checks)


def test_there_is_a_notebook():
    assert [path.stem for path in SOURCES] == ["bptt_by_hand"]
