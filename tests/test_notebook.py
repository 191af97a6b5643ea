"""The derivation to read is in step with its source and with the library, and every check in it holds.

`python tests/test_notebook.py` makes notebooks/bptt_by_hand.ipynb from its .py.
"""

import sys
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")

from jupyter_client import AsyncKernelManager  # noqa: E402
from jupyter_client.kernelspec import KernelSpec  # noqa: E402

SOURCE = Path(__file__).parent.parent / "notebooks" / "bptt_by_hand.py"
COMMITTED = SOURCE.with_suffix(".ipynb")
REMEDY = "look at what changed, then run: python tests/test_notebook.py"

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own


class ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs this file, whichever kernels Jupyter has been told of."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )


def executed(folder):
    """The source as a notebook, executed in `folder`. Raises what a cell raises."""
    notebook = jupytext.read(SOURCE)
    client = nbclient.NotebookClient(
        notebook,
        kernel_manager_class=ThisPython,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,  # else what one cell prints is cut wherever time cuts it
        timeout=300,
    )
    return client.execute()


def contents(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def printed(cell):
    return "".join(output.text for output in cell.get("outputs", []) if output.get("name") == "stdout")


def shown(notebook):
    """What every cell printed and displayed, in its order."""
    return [
        [
            output.text if output.output_type == "stream" else output.data["text/markdown"]
            for output in cell.get("outputs", [])
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
    ]


@pytest.fixture(scope="module")
def committed():
    return jupytext.read(COMMITTED)


def test_committed_notebook_has_the_cells_of_its_source(committed):
    assert contents(committed) == contents(jupytext.read(SOURCE)), REMEDY


def test_executed_again_it_shows_what_is_committed(committed, tmp_path):
    """The library's lines that it quotes, too: it is out of date as soon as one of them changes."""
    assert shown(executed(tmp_path)) == shown(committed), REMEDY
    assert list(tmp_path.iterdir()) == []


def test_every_check_in_it_holds(committed):
    lines = "".join(printed(cell) for cell in committed.cells).splitlines()
    checks = [line for line in lines if "error <= 1e-12" in line]
    assert len(checks) > 60
    assert all(line.endswith(" error <= 1e-12: True") for line in checks)
    assert not [line for line in lines if "False" in line or "Traceback" in line]


def test_it_holds_nothing_of_the_machine_that_made_it(committed):
    assert set(committed.metadata) <= {"kernelspec", "jupytext"}
    assert all(not cell.metadata for cell in committed.cells)
    outputs = [output for cell in committed.cells for output in cell.get("outputs", [])]
    assert {output.output_type for output in outputs} == {"stream", "display_data"}  # no error
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def regenerate():
    notebook = executed(SOURCE.parent)
    notebook.metadata.pop("language_info", None)  # the version of Python
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata.clear()
        cell.id = f"cell-{number}"  # instead of a random one, so that only what changes differs
    jupytext.write(notebook, COMMITTED)


if __name__ == "__main__":
    regenerate()
