"""The notebooks to read are in step with their sources and with the library, and every check in them holds.

    python tests/test_notebook.py                   # makes every notebook of notebooks/ from its .py, executed
    python tests/test_notebook.py manual_vs_auto    # or one

Here they are executed again in a short mode: with JBPTT_SHORT=1 in the environment a notebook takes smaller sizes in
its cells tagged "measured", whose times and memory are the machine's. What the others show must be what is committed.
"""

import base64
import sys
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")
pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")

from jupyter_client import AsyncKernelManager  # noqa: E402
from jupyter_client.kernelspec import KernelSpec  # noqa: E402

ROOT = Path(__file__).parent.parent
SOURCES = {source.stem: source for source in sorted((ROOT / "notebooks").glob("*.py"))}
REMEDY = "look at what changed, then run: python tests/test_notebook.py"
MEASURED = "measured"
FEWEST_CHECKS = {"attention": 1, "bptt_by_hand": 61, "char_rnn": 8, "manual_vs_auto": 11}

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own


class ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs this file, whichever kernels Jupyter has been told of."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )


def executed(source, folder):
    """A source as a notebook, executed in `folder`. Raises what a cell raises."""
    client = nbclient.NotebookClient(
        jupytext.read(source),
        kernel_manager_class=ThisPython,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,  # else what one cell prints is cut wherever time cuts it
        timeout=600,
    )
    return client.execute()


def contents(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in notebook.cells]


def printed(notebook):
    """The lines that its cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout").splitlines()


def shown(cell):
    """What a cell printed and displayed: pictures by their title, what was measured by its kind alone."""
    outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    if MEASURED in cell.metadata.get("tags", []):
        return [sorted(output.get("data", [output.output_type])) for output in outputs]
    return [output.text if output.output_type == "stream" else title_or_text(output) for output in outputs]


def title_or_text(output):
    if "image/png" in output.data:
        return output.metadata["image/png"]["alt"]
    return output.data["text/markdown"]


def pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})]


@pytest.fixture(scope="module", params=SOURCES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def committed(name):
    return jupytext.read(SOURCES[name].with_suffix(".ipynb"))


def test_committed_notebook_has_the_cells_of_its_source(name, committed):
    assert contents(committed) == contents(jupytext.read(SOURCES[name])), REMEDY


def test_executed_again_it_shows_what_is_committed(name, committed, tmp_path, monkeypatch):
    """The library's lines that it quotes, too: it is out of date as soon as one of them changes."""
    monkeypatch.setenv("JBPTT_SHORT", "1")
    again = executed(SOURCES[name], tmp_path)
    assert list(map(shown, again.cells)) == list(map(shown, committed.cells)), REMEDY
    assert_checks_hold(again)
    assert list(tmp_path.iterdir()) == []


def assert_checks_hold(notebook):
    lines = printed(notebook)
    checks = [line for line in lines if "error <= 1e-12" in line]
    assert all(line.endswith(" error <= 1e-12: True") for line in checks)
    assert not [line for line in lines if "False" in line or "Traceback" in line]
    return len(checks)


def test_every_check_in_it_holds(name, committed):
    assert assert_checks_hold(committed) >= FEWEST_CHECKS[name]


def test_it_holds_nothing_of_the_machine_that_made_it(committed):
    assert set(committed.metadata) <= {"kernelspec", "jupytext"}
    assert all(cell.metadata in ({}, {"tags": [MEASURED]}) for cell in committed.cells)
    outputs = [output for cell in committed.cells for output in cell.get("outputs", [])]
    assert {output.output_type for output in outputs} == {"stream", "display_data"}  # no error
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_its_first_picture_is_the_file_that_pages_show(name, committed):
    of_notebook, file = pictures(committed), SOURCES[name].with_suffix(".png")
    assert file.exists() == bool(of_notebook)
    assert not of_notebook or file.read_bytes() == of_notebook[0], REMEDY


def test_it_has_a_page_of_the_site(name):
    assert f": notebooks/{name}.ipynb.md\n" in (ROOT / "mkdocs.yml").read_text()


def regenerate(source):
    notebook = executed(source, source.parent)
    notebook.metadata.pop("language_info", None)  # the version of Python
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        cell.id = f"cell-{number}"  # instead of a random one, so that only what changes differs
    jupytext.write(notebook, source.with_suffix(".ipynb"))
    for picture in pictures(notebook)[:1]:
        source.with_suffix(".png").write_bytes(picture)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SOURCES:
        regenerate(SOURCES[chosen])
