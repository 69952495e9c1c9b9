"""What a score cost to train: FLOPs and seconds of the whole training, and until it had nearly come to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.analysis.report import formatting, warning_marks
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import Row, Sheet

HEADINGS = (
    "model",
    "ratio",
    "score",
    "95%",
    "flops",
    "seconds",
    "FLOPs to 95%",
    "seconds to 95%",
    "examples to 95%",
)


def known(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of models as they were fine-tuned whose FLOPs were counted."""
    return [row for row in rows if row.source is None and row.train_flops is not None]


def sheets(rows: Iterable[Row]) -> list[Sheet]:
    """Return a table for each task; what was made of a model is left out, for its training is not the whole of it."""
    counted = known(rows)
    return [_sheet([row for row in counted if row.task == task]) for task in cell_table.tasks(counted)]


def _sheet(rows: list[Row]) -> Sheet:
    marks = warning_marks.number_warnings(rows)
    cells = [_cells(row, marks) for row in rows]
    return Sheet(_title(rows[0]), HEADINGS, cells, warnings=warning_marks.list_warnings(marks))


def _title(row: Row) -> str:
    return f"{row.task}: {formatting.metric(row.score_name)} and what its training took"


def _cells(row: Row, marks: Mapping[str, str]) -> list[str]:
    examples = row.examples_to_95pct
    return [
        cell_table.name(row),
        f"{row.ratio:g}",
        warning_marks.format_score(row, marks),
        formatting.between(row.low, row.high),
        formatting.amount(row.train_flops),
        formatting.digits(row.train_seconds),
        formatting.amount(row.flops_to_95pct),
        formatting.digits(row.seconds_to_95pct),
        "" if examples is None else f"{examples:,.0f}",
    ]
