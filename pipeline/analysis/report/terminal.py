"""The tables of results in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report.tables import benchmark_tables, compression_tables, score_tables
from pipeline.analysis.report.tables.table import render_terminal
from pipeline.analysis.results import notices
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost

PLAIN_WIDTH = 140  # characters, if the output is not a terminal


def print_results(
    rows: Sequence[CellRow], measured: Sequence[CellCost], answer: str = "", console: Console | None = None
) -> None:
    """Print the tables of scores, compressions, students and training speed, then notices about the records.

    The answer comes last, so that it stays on the screen.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, file=console.file)
    tables = [*score_tables.create_tables(rows), *compression_tables.create_tables(rows)]
    tables += [benchmark_tables.create_training_table(measured)] if measured else []
    for table in tables:
        console.print(render_terminal(table))
        for warning in table.warnings:
            console.print(f"  {warning}", highlight=False, markup=False)
        if table.warnings:
            console.print()
    pooled = filter(None, [latency_pool.format_note(rows)])
    for line in (*pooled, score_tables.format_overview(rows), *notices.collect_notices(rows, measured)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"\n{answer}", highlight=False, markup=False)
