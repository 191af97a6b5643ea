"""What the user sees of a run: a progress bar on a terminal, plain lines elsewhere, JSON lines for a program."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jbptt.app.json_lines import json_line
from jbptt.app.metrics import shown
from jbptt.app.terminal import shown as printable


class Reporter:
    """Plain lines on standard output. A context manager, as every reporter is."""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def step(self, steps: int, items: str, row: dict[str, Any]) -> None:
        """Reports a row of metrics, of a run of `steps` steps."""
        print(f"step {row['step']}/{steps}  {_losses(row)}  {row['items_per_second']:,} {items}/s", flush=True)

    def say(self, event: str, message: str, **fields: Any) -> None:
        """Reports anything else: `message` for people, the event's name and fields for programs."""
        print(message, flush=True)


class BarReporter(Reporter):
    """A progress bar, with every message above it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(highlight=False),
        )
        self._task = None

    def __enter__(self) -> "BarReporter":
        self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.stop()

    def step(self, steps: int, items: str, row: dict[str, Any]) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", total=steps)
        *_, loss = _texts("train", row)
        text = f"loss {loss}  {row['items_per_second']:,} {items}/s"
        self._progress.update(self._task, completed=row["step"], description=text)
        if row["validation_nats"] is not None:
            self._progress.console.print(f"step {row['step']}  {_losses(row)}", markup=False)

    def say(self, event: str, message: str, **fields: Any) -> None:
        self._progress.console.print(printable(message), markup=False, soft_wrap=True)


class JsonReporter(Reporter):
    """One JSON object a line: {"event": "step", ...}."""

    def step(self, steps: int, items: str, row: dict[str, Any]) -> None:
        self.say("step", "", steps=steps, **row)

    def say(self, event: str, message: str, **fields: Any) -> None:
        print(json_line({"event": event, **fields}), flush=True)


class SilentReporter(Reporter):
    """Nothing: for one run of many, of which something else tells."""

    def step(self, steps: int, items: str, row: dict[str, Any]) -> None:
        pass

    def say(self, event: str, message: str, **fields: Any) -> None:
        pass


def run_reporter(*, as_json: bool) -> Reporter:
    """For one run of many: a bar on a terminal, nothing elsewhere."""
    return BarReporter() if sys.stdout.isatty() and not as_json else SilentReporter()


def reporter_for(*, as_json: bool) -> Reporter:
    """JSON lines where asked for; else a bar on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonReporter()
    return BarReporter() if sys.stdout.isatty() else Reporter()


def _losses(row):
    parts = []
    for of in ("train", "validation"):
        if texts := _texts(of, row):
            parts.append(f"{of} {texts[0]}" + (f" ({', '.join(texts[1:])})" if texts[1:] else ""))
    return "  ".join(parts)


def _texts(of, row):
    """Of "train" or "validation" all that a row has: the loss in its units, and further figures."""
    names = [name.removeprefix(f"{of}_") for name in row if name.startswith(f"{of}_") and row[name] is not None]
    return [f"{shown(name, row[f'{of}_{name}'])} {name.replace('_', ' ')}" for name in names]
