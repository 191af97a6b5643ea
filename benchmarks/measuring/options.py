"""Command line parameters that several scripts take."""

from pathlib import Path

import click

from benchmarks.problem import CELLS, Sizes


class SizesList(click.ParamType):
    """ "1000x1x32x64,256x4x64x128": T x B x I x H."""

    name = "TxBxIxH,..."

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            return tuple(Sizes(*map(int, sizes.split("x"))) for sizes in value.split(","))
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not TxBxIxH,... as in 1000x1x32x64,256x4x64x128", param, ctx)


class Names(click.ParamType):
    """Some of a table's names, with commas between them."""

    name = "NAME,..."

    def __init__(self, table):
        self.table = list(table)

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        names = value.split(",")
        unknown = [name for name in names if name not in self.table]
        if unknown:
            self.fail(f"{', '.join(unknown)}: choose among {', '.join(self.table)}", param, ctx)
        return names


cells = click.option("--cells", type=Names(CELLS), default=",".join(CELLS), show_default=True)
out = click.option("--out", type=click.Path(path_type=Path), help="The CSV file to write.")
resume = click.option("--resume", is_flag=True, help="Go on with --out, or with the newest file: its points stay.")
quick = click.option("--quick", is_flag=True, help="A smoke test: tiny sizes, few rounds.")
