"""The command line from its arguments to its end: every user error is one line on standard error and exit status 2."""

import os
import sys

try:
    import click
except ImportError:
    sys.exit("jbptt: the command line needs more packages: pip install 'jbptt[cli]'")

from jbptt.app.cli import cli
from jbptt.app.errors import UserError
from jbptt.app.stopping import stop_at_once


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit status: 0; 1, a check failed; 2, a user's error; 130, interrupted."""
    if sys.stderr is None:  # it was closed; None would be standard output to print
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        return _told("standard output is closed: send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # a terminal that cannot show a character of the text
    os.environ["MPLBACKEND"] = "agg"  # pictures are files: no window is needed, and matplotlib checks what is named
    try:
        return cli.main(args=arguments, prog_name="jbptt", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        return _told(error.format_message())
    except UserError as error:
        return _told(str(error))
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _told(f"{error.filename or 'output'} cannot be read or written: {error.strerror}")
    except (click.Abort, KeyboardInterrupt):
        stop_at_once()
    except Exception as error:
        if (what := _machine_lacks(error)) is None:
            raise
        return _told(what)


def _told(message):
    print(f"jbptt: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _machine_lacks(error):
    """What a machine would need for what failed, if that is why; else None."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "RESOURCE_EXHAUSTED" in str(error):
        return "there is not the memory for this: ask for less, as with a smaller --hidden or --batch"
    import jax

    try:
        jax.devices()
    except Exception:  # of many kinds, with and without words
        platforms = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX has no device with JAX_PLATFORMS={platforms}: unset it, or install JAX for that platform"
    return None
