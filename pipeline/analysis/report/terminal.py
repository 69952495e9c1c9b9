"""The tables of results in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report.tables import benchmark_tables, compression
from pipeline.analysis.results import cell_table, notices
from pipeline.analysis.results.cell_table import Row, Sheet
from pipeline.analysis.results.costs import Cost

# What does not fit beside the rest; the report holds it.
LEFT_OUT = (
    "examples", "parameters in all", "memory, MiB", "95% over rounds", "tokens/s", "alone, pairs/s",
    "weak efficiency", "J/pair",
)  # fmt: skip
PLAIN_WIDTH = 140  # characters, where the output is no terminal


def show(rows: Sequence[Row], measured: Sequence[Cost], answer: str = "", console: Console | None = None) -> None:
    """Print a table for each task, its compressions and students, training speed, and what is missing or wrong.

    The answer comes last, so that it is what remains on the screen.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, file=console.file)
    for sheet in [*cell_table.sheets(rows), *compression.sheets(rows), *benchmark_tables.sheets(measured)[:1]]:
        console.print(as_table(_narrow(sheet)))
        for warning in sheet.warnings:
            console.print(f"  {warning}", highlight=False, markup=False)
        if sheet.warnings:
            console.print()
    pooled = filter(None, [latency_pool.format_note(rows)])
    for line in (*pooled, cell_table.overview(rows), *notices.collect(rows, measured)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"\n{answer}", highlight=False, markup=False)


def _narrow(sheet: Sheet) -> Sheet:
    headings = tuple(heading for heading in sheet.headings if heading not in LEFT_OUT)
    columns = [sheet.headings.index(heading) for heading in headings]
    rows = [[row[column] for column in columns] for row in sheet.rows]
    return Sheet(sheet.title, headings, rows, warnings=sheet.warnings)


def as_table(sheet: Sheet, wraps: bool = False) -> Table:
    """Return a table for the terminal, whose first column holds names and whose others numbers, or words that wrap."""
    shown = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(sheet.headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not wraps)
    for row in sheet.rows:
        shown.add_row(*row)
    return shown
