"""Tables of training costs: FLOPs and seconds of the whole training, and until 95% of the final score."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.analysis.report import formatting
from pipeline.analysis.report.tables import score_tables, warning_marks
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import CellRow

FLOPS_HELP = (
    "multiplications and additions in the matrix products of a training, forward and backward, without padding. M, G, "
    "T, P: 10 to the power of 6, 9, 12, 15."
)
TO_95_HELP = (
    "spent until the score on the selection split covered 95% of the way from the baseline to its final value; empty "
    "where a seed did not get above the baseline. Means over seeds."
)
COLUMNS = (
    Column("train_flops", "flops", formatting.format_amount, FLOPS_HELP),
    Column("train_seconds", "seconds", formatting.format_number),
    Column("flops_to_95pct", "FLOPs to 95%", formatting.format_amount, TO_95_HELP),
    Column("seconds_to_95pct", "seconds to 95%", formatting.format_number),
    Column("examples_to_95pct", "examples to 95%", "{:,.0f}".format),
)


def select_counted(rows: Iterable[CellRow]) -> list[CellRow]:
    """Return the rows of fine-tuned models whose training FLOPs were counted."""
    return [row for row in rows if row.source is None and row.train_flops is not None]


def create_tables(rows: Iterable[CellRow]) -> list[Table]:
    """Return a table for each task, without students and compressions: their own training is not the whole cost."""
    counted = select_counted(rows)
    return [_create_table([row for row in counted if row.task == task]) for task in cell_table.list_tasks(counted)]


def _create_table(rows: list[CellRow]) -> Table:
    marks = warning_marks.number_warnings(rows)
    score = score_tables.create_score_column(marks)
    columns = [score_tables.MODEL, score_tables.RATIO, score, score_tables.INTERVAL, *COLUMNS]
    title = f"{rows[0].task}: {formatting.format_metric(rows[0].score_name)} and cost of training"
    return Table(title, columns, rows, warnings=warning_marks.list_warnings(marks))
