"""README and site hold: every Python block runs and prints what is shown, every public name, command, tick, link is."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import jax
import pytest
from click.testing import CliRunner

import jbptt
from jbptt.app.cli import cli

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
OTHERS = re.compile(r"^(?:import|from) (torch|flax|equinox|haiku|keras)\b", re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@pytest.mark.parametrize("page", [page for page, text in TEXT.items() if BLOCK.search(text)])
def test_page_runs_as_a_new_user_would_run_it(page, capsys, tmp_path, monkeypatch):
    """Its blocks one after the other; what is shown below a block is what it prints."""
    if missing := [other for other in OTHERS.findall(TEXT[page]) if find_spec(other) is None]:
        pytest.skip(f"needs {missing[0]}: pip install -e '.[test,benchmarks]'")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for code, shown in BLOCK.findall(TEXT[page]):
            exec(compile(code, page, "exec"), names)
            printed = capsys.readouterr().out
            if shown:
                assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
                assert all(map(is_close, NUMBER.findall(printed), NUMBER.findall(shown)))


def is_close(printed, shown):
    """On another machine: a number to a tenth or two hundredths, a rounding error to its power of ten."""
    if "e-" in shown:
        return float(printed) < 10 * float(shown)
    return float(printed) == pytest.approx(float(shown), rel=0.1, abs=0.02)


def test_readme_is_short_and_prints_little_differences_and_costs_that_fall():
    assert len(README.read_text().splitlines()) <= 150
    assert CLAIMS
    _, shown = BLOCK.search(README.read_text()).groups()
    assert float(re.search(r"relative difference: (\S+)", shown)[1]) < 1e-5
    costs = [float(cost) for cost in re.findall(r"cost (\S+)", shown)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < 0.1


CLAIMS = re.findall(r"^- (.*?)(?=^- |^#)", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: " ".join(claim.split()[:4]))
def test_every_claim_leads_to_a_test_or_a_results_file(claim):
    assert re.search(r"\]\((tests|benchmarks/results)/", claim)


OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("page", OUTSIDE)
def test_links_of_a_page_that_is_not_the_sites_lead_somewhere(page):
    links = re.findall(r"\]\((?!https://)([^)\s#]+)", (ROOT / page).read_text())
    assert not [link for link in links if not (ROOT / link).exists()]


TICKS = [tick for text in TEXT.values() for tick in re.findall(r'\]\((?:\.\./)*(tests/\S+)\s+"(\w+)"\)', text)]


def test_every_tick_names_a_test():
    comparison = TEXT["docs/comparison.md"]
    assert len(re.findall(r'\[✓\]\(\S+ "\w+"\)', comparison)) == comparison.count("[✓]") > 0


@pytest.mark.parametrize(("path", "test"), sorted(set(TICKS)))
def test_every_tick_leads_to_its_test(path, test):
    assert f"def {test}(" in (ROOT / path).read_text()


COMMAND = re.compile(r"(?:^|`|&& )jbptt ([^`#\n]+)", re.MULTILINE)
NAMED = {command.strip() for text in TEXT.values() for command in COMMAND.findall(text) if command[0].islower()}


@pytest.mark.parametrize("command", sorted(NAMED))
def test_command_exists_with_its_options(command):
    words = command.split()
    names = words[:2] if words[0] in ("train", "plot") else words[:1]
    shown = CliRunner().invoke(cli, [*names, "--help"])
    assert shown.exit_code == 0
    assert all(option in shown.output for option in re.findall(r"--[a-z-]+", command))


def public(module):
    return [name for name in dir(module) if name[0] != "_" and not isinstance(getattr(module, name), ModuleType)]


PUBLIC = [*public(jbptt), *(f"interop.{name}" for name in public(jbptt.interop))]


def test_every_public_name_is_in_the_reference_once():
    described = [name for text in TEXT.values() for name in re.findall(r"^::: jbptt\.([\w.]+)$", text, re.MULTILINE)]
    assert sorted(described) == sorted(PUBLIC)


@pytest.mark.full
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra 'docs'")
def test_site_builds_with_every_link_and_reference_resolved(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
