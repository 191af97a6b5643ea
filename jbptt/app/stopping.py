"""Stopping at once."""

import os
import sys
from typing import NoReturn


def stop_at_once() -> NoReturn:
    """Ends the program with a word and status 130: a checkpoint that is being written is atomic, and its threads would
    wait or complain."""
    print("jbptt: stopped", file=sys.stderr, flush=True)
    os._exit(130)
