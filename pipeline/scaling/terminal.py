"""The table of results in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.scaling import table
from pipeline.scaling.table import Row

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
    """Print one table a task, and how many cells have not run."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, file=console.file)
    for task in table.tasks(rows):
        of_task = [row for row in rows if row.task == task]
        shown = Table(title=table.title(of_task), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        columns = [table.HEADINGS.index(heading) for heading in COLUMNS]
        for heading in COLUMNS:
            shown.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=heading == "model")
        for row in of_task:
            texts = table.cells(row)
            shown.add_row(*(texts[column] for column in columns))
        console.print(shown)
    console.print(table.overview(rows), soft_wrap=True)
