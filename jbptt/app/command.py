"""The command `jbptt`, installed beside the package (see pyproject.toml): the package's import, which is JAX's, takes a
second, in which Ctrl-C is heeded, too."""

import os
import signal
from contextlib import suppress


def main() -> int:
    """Runs the command line. Returns the exit status, as `jbptt.app.program.main` does."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as in the background
    if heeded:
        signal.signal(signal.SIGINT, _stopped)
    from jbptt.app import program

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return program.main()


def _stopped(number, frame):
    with suppress(OSError):
        os.write(2, b"jbptt: stopped\n")
    os._exit(130)
