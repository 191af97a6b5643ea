"""`jbptt train ...`: a command for every task, each with the options that its settings make."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from jbptt.app.options import FILE, given, run_options, setting_options
from jbptt.app.tasks.chars.settings import Settings as CharsSettings
from jbptt.app.tasks.sequences.settings import settings_of, unused_by
from jbptt.app.tasks.sequences.table import TASKS
from jbptt.app.tasks.translation.settings import OF_PAIRS, PAIRS, Settings as TranslationSettings


@click.group()
def train() -> None:
    """Train a model."""


def _command(
    name: str,
    text: str,
    defaults: Any,
    run: Callable[..., bool],
    arguments: Sequence[click.Parameter] = (),
    without: Sequence[str] = (),
) -> None:
    """Adds `jbptt train NAME`.

    - `text`: what its help says, the first sentence for the list of tasks.
    - `defaults`: the task's settings, a NamedTuple; those named in `without` are no options.
    - `run(given, folder, reporter, *values)`: trains by the settings that were given; `values` are of the `arguments`
      that the task takes beside its settings. Returns whether training came to its end.
    """

    def command(out, resume, as_json, **values):
        from jbptt.app.reporting import reporter_for
        from jbptt.app.runs import Folder

        own = [values.pop(argument.name) for argument in arguments]
        with reporter_for(as_json=as_json) as reporter:
            return 0 if run(given(values), Folder(out, resume), reporter, *own) else 130

    ends = "Ctrl-C saves a checkpoint first."
    made = train.command(name, help=f"{text} {ends}")(setting_options(defaults, without)(run_options(name)(command)))
    made.params[:0] = arguments


def _chars(settings, folder, reporter, files, text):
    from jbptt.app.tasks.chars import run

    return run.train([path.absolute() for path in (*text, *files)], settings, folder, reporter)


_command(
    "chars",
    """Train a character model, Karpathy's char-RNN, on FILES or on Python's own source code.

    Leaves checkpoints, metrics.csv, loss.png and sample.txt in the run's folder.""",
    CharsSettings(),
    _chars,
    [
        click.Argument(["files"], nargs=-1, type=FILE),
        click.Option(
            ["--text"],
            multiple=True,
            type=FILE,
            help="UTF-8 file to learn from; more may follow it.  [default: the Python standard library's source code]",
        ),
    ],
)


def _dates(settings, folder, reporter):
    from jbptt.app.tasks.translation import run

    return run.train_dates(settings, folder, reporter)


_command(
    "dates",
    """Train a model that reads dates as people write them, in many languages and formats: "3 mars 1998" is 1998-03-03.

    The pairs are made from the Unicode Consortium's locale data. Leaves checkpoints, metrics.csv, loss.png, results.md
    and alignments.png in the run's folder.""",
    TranslationSettings(),
    _dates,
    without=OF_PAIRS,
)


def _pairs(settings, folder, reporter, pairs):
    from jbptt.app.tasks.translation import run

    return run.train_pairs(None if pairs is None else pairs.absolute(), settings, folder, reporter)


_command(
    "pairs",
    """Train the same model on your own pairs of texts.

    Leaves checkpoints, metrics.csv, loss.png, results.md and alignments.png in the run's folder.""",
    PAIRS,
    _pairs,
    [
        click.Option(
            ["--pairs"], type=FILE, help="UTF-8 file of lines, SOURCE<tab>TARGET.  [default: the resumed run's]"
        )
    ],
)


def _sequences(task):
    def run(settings, folder, reporter):
        from jbptt.app.tasks.sequences import run

        return run.train(task, settings, folder, reporter)

    return run


for _task in TASKS.values():
    _command(
        _task.name,
        f"""{_task.text}

        Leaves checkpoints, metrics.csv, loss.png, results.md and results.json in the run's folder.""",
        settings_of(_task)(),
        _sequences(_task),
        without=unused_by(_task),
    )
