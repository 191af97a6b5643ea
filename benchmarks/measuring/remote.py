"""Runners in a process of their own, reached through a pipe. They take their own times: the pipe is in none of them."""

import multiprocessing
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.protocol import LeftOut


class Worker:
    """A fresh Python process that holds one runner at a time. A context manager: leaving it ends the process."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def hold(self, make: Callable, *args: Any) -> "RemoteRunner":
        """The runner that `make(*args)` makes over there, in place of an earlier one. Raises what `make` raises."""
        return RemoteRunner(self, self.ask("hold", make, args))

    def ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError("the worker's process ended without an answer") from None
        if kind == "answer":
            return answer
        raise LeftOut(answer) if kind == "left out" else RuntimeError(answer)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        self._pipe.close()  # the process ends when it reads on
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()


class RemoteRunner:
    """A worker's runner, as if it were here."""

    def __init__(self, worker: Worker, note: str):
        self._worker, self.note = worker, note

    def facts(self, mode: str) -> dict:
        return self._worker.ask("facts", mode)

    def results(self) -> dict:
        return self._worker.ask("results")

    def losses(self, steps: int) -> Any:
        return self._worker.ask("losses", steps)

    def weights(self) -> dict:
        return self._worker.ask("weights")

    def measure(self, mode: str, calls: int) -> tuple[float, float]:
        return self._worker.ask("measure", mode, calls)

    def peak_gflops(self, n: int, repeats: int) -> float:
        return self._worker.ask("peak_gflops", n, repeats)


def _serve(pipe):
    runner = None
    while True:
        try:
            method, *args = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if method == "hold":
                runner = None  # before the next one takes its memory
                make, make_args = args
                runner = make(*make_args)
                answer = runner.note
            else:
                answer = getattr(runner, method)(*args)
            pipe.send(("answer", answer))
        except LeftOut as reason:
            pipe.send(("left out", str(reason)))
        except Exception as error:  # raised again at the other end
            pipe.send(("failed", f"{type(error).__name__}: {error}"))
