"""A command line to call, and a small text that is easy to learn."""

import signal

import jax
import pytest

from jbptt.app import program

TEXT = "abcabdabe\n" * 600
"""Its next character is determined by the last three, and not by the last one."""

SMALL = ["--hidden", "8", "--length", "5", "--batch", "4"]
"""Options of a model that trains in a moment."""

LEARNS = ["--hidden", "16", "--length", "10", "--batch", "8", "--steps", "300", "--learning-rate", "0.02"]
"""Options of a model that learns the text."""


@pytest.fixture(autouse=True, scope="package")
def as_a_user_has_it():
    """JAX's own defaults, for a program that is whole: optax promotes on its own account."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        jax.config.update("jax_enable_x64", False)
        yield
        jax.config.update("jax_enable_x64", True)


@pytest.fixture(autouse=True, scope="package")
def as_in_a_terminal():
    """Signals end a process, though the tests may run under nohup or in the background of a script."""
    ends = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in ends.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def float64_is_not_left_on():
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def interrupt_after(monkeypatch):
    """interrupt_after(module, name, step): sends this process a Ctrl-C, or another signal, in that call of a function,
    one a step."""

    def interrupt(module, name, step, number=signal.SIGINT):
        plain, calls = getattr(module, name), []

        def called(*arguments):
            calls.append(None)
            if len(calls) == step:
                signal.raise_signal(number)
            return plain(*arguments)

        monkeypatch.setattr(module, name, called)

    return interrupt


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def text(here):
    """The path of a file that holds TEXT."""
    path = here / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def jbptt(capsys):
    """jbptt(*arguments) -> (exit status, standard output, standard error), in this process."""

    def call(*arguments):
        status = program.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def fails(jbptt):
    """fails(*arguments) -> the one line on standard error of a user's error."""

    def call(*arguments):
        status, _, error = jbptt(*arguments)
        assert status == 2
        assert error.startswith("jbptt: ")
        assert error.count("\n") == 1
        return error

    return call


def pytest_collection_modifyitems(items):
    """Warnings are no errors here: orbax leaves files and event loops to the garbage collector."""
    for item in items:
        if "/tests/app/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("default"))
