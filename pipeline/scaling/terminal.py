"""The tables of results in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.scaling import ledger, table
from pipeline.scaling.table import Row, Sheet

# What fits beside each other; the report holds the rest.
COLUMNS = (
    "model",
    "parameters",
    "ratio",
    "score",
    "95% over seeds",
    "above majority",
    "collapsed",
    "p50 ms",
    "pairs/s",
    "stored",
)
PLAIN_WIDTH = 120  # characters, where the output is no terminal


def show(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print one table a task, what was made of its models, and how many cells have not run."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, file=console.file)
    for sheet in table.sheets(rows):
        columns = [sheet.headings.index(heading) for heading in COLUMNS]
        narrow = [[row[column] for column in columns] for row in sheet.rows]
        console.print(_table(Sheet(sheet.title, COLUMNS, narrow)))
    for sheet in ledger.sheets(rows):
        console.print(_table(sheet))
    console.print(table.overview(rows), soft_wrap=True)


def _table(sheet: Sheet) -> Table:
    """Return a table whose first column holds names and whose others hold numbers."""
    shown = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(sheet.headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for row in sheet.rows:
        shown.add_row(*row)
    return shown
