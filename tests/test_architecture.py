"""The law of the rooms: imports point down the list, never up; what JAX does not promise is asked for in one room."""

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jbptt"
ROOMS = [
    "app",
    "interop",
    "comparison",
    "networks",
    "unrolling",
    "deferred",
    "backends",
    "recurrence",
    "cells",
    "feedforward",
    "autodiff",
    "checks",
    "_jax",
]
"""From the top down."""
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def imported(source):
    """Every module that a file names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def arrows(source):
    """The rooms that a file imports; "" for names of the package itself."""
    for name in imported(source):
        package, *parts = name.split(".")
        if package == "jbptt":
            yield parts[0] if parts and parts[0] in ROOMS else ""


def wrong_arrows(path, source):
    own = room_of(path)
    above = ROOMS[: ROOMS.index(own)]
    return [room for room in arrows(source) if room in above or (room == "" and own != "app")]


def test_every_room_is_on_the_list():
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_points_up(path):
    assert not wrong_arrows(path, path.read_text())


def test_one_that_did_would_be_seen():
    path = PACKAGE / "cells" / "gru.py"
    for line in ("from jbptt.unrolling import unroll", "import jbptt", "from jbptt.backends import scan"):
        assert wrong_arrows(path, f"{path.read_text()}\n\ndef late():\n    {line}\n")


def module_of(path):
    return ".".join(("jbptt", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def test_there_is_no_cycle():
    modules = {module_of(path): path for path in FILES}

    def below(name):
        names = imported(modules[name].read_text())
        return {known for known in (n if n in modules else n.rpartition(".")[0] for n in names) if known in modules}

    order = TopologicalSorter({name: below(name) for name in modules})
    order.prepare()  # raises CycleError


UNPROMISED = ("jax._src", "jax.extend", "jax.interpreters", "jax.custom_derivatives", "jax.core", "jax.experimental")


def unpromised(source):
    return sorted({name for name in imported(source) if name.startswith(UNPROMISED)})


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(path) != "_jax"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_jax_does_not_promise_is_asked_for_in_one_room(path):
    assert not unpromised(path.read_text())
    assert not re.search(r"jax\.(_src|extend|interpreters|core)\b|jax\.config\.jax_", path.read_text())


NAMES = sorted({name for path in (PACKAGE / "_jax").glob("*.py") for name in unpromised(path.read_text())})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_promised_is_there(name):
    """One by one, so that what a new JAX has taken away is named."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)  # a module is an attribute only once something has imported it
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(module), attribute)


ATTRIBUTES = {
    "jax.interpreters.ad": [
        "Zero",
        "instantiate_zeros",
        "is_undefined_primal",
        "primitive_jvps",
        "primitive_transposes",
    ],
    "jax.interpreters.batching": ["fancy_primitive_batchers"],
    "jax.interpreters.mlir": ["SPMDAxisContext", "lower_fun", "register_lowering"],
    "jax.extend.core": [
        "ClosedJaxpr",
        "Jaxpr",
        "JaxprEqn",
        "Literal",
        "Primitive",
        "Var",
        "jaxpr_as_fun",
        "jaxprs_in_params",
    ],
}
"""What the room looks up in these modules."""


@pytest.mark.parametrize(("module", "attribute"), [(m, name) for m, names in ATTRIBUTES.items() for name in names])
def test_attributes_that_are_not_promised_are_there(module, attribute):
    assert hasattr(importlib.import_module(module), attribute)


def test_the_list_of_attributes_is_whole():
    used = set()
    for path in (PACKAGE / "_jax").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                for module in ATTRIBUTES:
                    if node.value.id == module.rpartition(".")[2]:
                        used.add((module, node.attr))
    assert used <= {(module, name) for module, names in ATTRIBUTES.items() for name in names}


TESTS = Path(__file__).parent
TEST_MODULES = sorted(TESTS.rglob("test_*.py"))


def of_other_tests(source):
    """The test modules that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = [getattr(node, "module", None) or "" for node in nodes] + [a.name for node in nodes for a in node.names]
    return sorted({path.stem for path in TEST_MODULES} & {part for name in named for part in name.split(".")})


def test_no_test_imports_another():
    """What tests share is in modules without tests."""
    found = {str(path.relative_to(TESTS)): of_other_tests(path.read_text()) for path in TESTS.rglob("*.py")}
    assert not {path: names for path, names in found.items() if names}


def test_a_test_that_did_would_be_seen():
    for line in ("from test_gradients import hand_derived", "import test_time", "from . import test_time"):
        assert of_other_tests(line)
