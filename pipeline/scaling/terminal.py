"""The tables of results in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.scaling import ledger, speed, table
from pipeline.scaling.costs import Cost
from pipeline.scaling.table import Row, Sheet

# What does not fit beside the rest; the report holds it.
LEFT_OUT = (
    "examples", "95% over examples", "parameters in all", "memory, MiB", "95% over rounds", "tokens/s",
    "alone, pairs/s", "weak efficiency", "J/pair",
)  # fmt: skip
PLAIN_WIDTH = 140  # characters, where the output is no terminal


def show(rows: Sequence[Row], measured: Sequence[Cost], answer: str = "", console: Console | None = None) -> None:
    """Print one table a task, what was made of its models, how fast they train, how many cells have not run.

    The answer comes last: that is what stays on the screen.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, file=console.file)
    for sheet in [*table.sheets(rows), *ledger.sheets(rows), *speed.sheets(measured)[:1]]:
        console.print(as_table(_narrow(sheet)))
    console.print(table.overview(rows), soft_wrap=True)
    console.print(f"\n{answer}", highlight=False, markup=False)


def _narrow(sheet: Sheet) -> Sheet:
    headings = tuple(heading for heading in sheet.headings if heading not in LEFT_OUT)
    columns = [sheet.headings.index(heading) for heading in headings]
    return Sheet(sheet.title, headings, [[row[column] for column in columns] for row in sheet.rows])


def as_table(sheet: Sheet, wraps: bool = False) -> Table:
    """Return a table for the terminal, whose first column holds names and whose others numbers, or words that wrap."""
    shown = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(sheet.headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not wraps)
    for row in sheet.rows:
        shown.add_row(*row)
    return shown
