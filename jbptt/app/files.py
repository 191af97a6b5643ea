"""The user's files, and the folder of a run."""

import json
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

from jbptt.app.errors import UserError


def composed(text: str, nfc: bool) -> str:
    """The text, in Unicode's normal form C if asked for: é, in place of e and a combining accent."""
    return unicodedata.normalize("NFC", text) if nfc else text


def read_utf8(option: str, path: Path) -> str:
    """The text of a file that the user named by `option`, of standard input for "-", without the byte order mark that
    some editors begin it with.

    Raises UserError if it cannot be read or is not UTF-8.
    """
    try:
        if str(path) != "-" and path.is_char_device():  # which may have no end
            raise UserError(f"{option} {path} is a device: give a file, or - for standard input")
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{option} {path} is not UTF-8 (byte {error.start}): convert it, e.g. with iconv") from None
    except OSError as error:
        raise UserError(f"{option} {path} cannot be read: {error.strerror}") from None


def read_lines(option: str, path: Path) -> list[str]:
    """The lines of such a file."""
    return read_utf8(option, path).replace("\r\n", "\n").removesuffix("\n").split("\n")


def read_config(run: Path, *tasks: str) -> dict[str, Any]:
    """The config of a run of one of these tasks, of any if none is named. Raises UserError if `run` holds none."""
    check_name("the run", run)
    path = run / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run} is not the folder of a run (it has no config.json): name one that train made") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict) or "settings" not in config:
        raise UserError(f"{path} is not a run's configuration: it has no 'settings'")
    if tasks and config.get("task") not in tasks:
        raise UserError(
            f"{run} must hold a run of train {' or '.join(tasks)}, and its config.json names {config.get('task')!r}"
        )
    return config


def new_run_folder(out: Path | None, task: str) -> Path:
    """Makes the folder of a new run: `out`, or the next free runs/TASK-N. Raises UserError if it is not empty."""
    if out is None:
        return _next_run_folder(task)
    check_name("--out", out)
    if (out / "config.json").exists():
        raise UserError(f"--out {out} holds a run already: add --resume to go on with it, or name another folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} is not empty: name a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise UserError(f"--out {out} cannot be written to: name another folder")
    return out


def check_name(option: str, folder: Path) -> None:
    """Raises UserError for a folder in which checkpoints cannot be kept, by its whole name."""
    name = str(folder.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{option} {folder} has a name that is not UTF-8: name another folder") from None
    if str(folder).startswith("-"):
        raise UserError(f"{option} {folder} looks like another option: name a folder, or ./{folder}")
    if os.sep != "\\" and "\\" in name:
        raise UserError(f"{option} {folder} has a backslash in its name: name another folder")


def _next_run_folder(task):
    check_name("the folder", Path("runs"))
    number = 1 + max((_number(path) for path in Path("runs").glob(f"{task}-*")), default=0)
    while True:  # until the number is ours: another run may be starting too
        folder = Path("runs") / f"{task}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"{folder} cannot be made: {error.strerror}; name a folder with --out") from None
        else:
            return folder


def existing_run_folder(out: Path | None, task: str) -> Path:
    """The folder to resume: `out`, or the newest runs/TASK-N. Raises UserError if there is none."""
    if out is not None:
        return out
    runs = [path for path in Path("runs").glob(f"{task}-*") if _number(path) and (path / "config.json").exists()]
    if not runs:
        raise UserError(f"--resume found no run in runs/{task}-*: name its folder with --out")
    return max(runs, key=_number)


def _number(path):
    suffix = path.name.rpartition("-")[2]
    return int(suffix) if suffix.isdecimal() else 0
