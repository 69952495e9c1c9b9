"""Tables of scores and costs: one per task, with the fine-tuned cells of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report import formatting
from pipeline.analysis.report.tables import warning_marks
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import CellRow

SCORE_HELP = "the task's metric on the report split, which is never used for selection; mean over seeds."
INTERVAL_HELP = (
    "confidence interval of the expected score over new seeds and new examples. The standard deviation over seeds is "
    "shrunk towards that of the task's other cells; without a repeated seed there is no interval."
)
BASELINE_HELP = (
    "yes if the whole interval is above the score of the best constant answer, below the baseline if it is below it, "
    "unclear if the interval contains it."
)


def format_model(row: CellRow) -> str:
    """Return the model of a row, with its recipe if the grid has several, or its name if it is not in the grid."""
    return f"{row.model} ({row.cell})" if row.section else row.line


def format_above_baseline(row: CellRow) -> str:
    """Return whether the score is above the baseline."""
    return "below the baseline" if row.above_majority == "no" else row.above_majority


MODEL = Column("model", "model", value=format_model)
RATIO = Column("ratio", "ratio", "{:g}".format)
INTERVAL = Column(
    "interval", "95%", help=INTERVAL_HELP, value=lambda row: formatting.format_score_interval(row.low, row.high)
)  # fmt: skip


def create_score_column(marks: Mapping[str, str]) -> Column:
    """Return the column of scores with their warning marks (``number_warnings``)."""
    return Column("score", "score", help=SCORE_HELP, value=partial(warning_marks.format_score, marks=marks))


def create_columns(marks: Mapping[str, str]) -> list[Column]:
    """Return the columns of a task's table."""
    return [
        MODEL,
        Column("parameters", "parameters", formatting.format_parameters),
        RATIO,
        Column("train_examples", "examples", "{:,}".format, in_terminal=False),
        create_score_column(marks),
        INTERVAL,
        Column("above_baseline", "above baseline", help=BASELINE_HELP, value=format_above_baseline),
        Column(
            "collapsed", "collapsed", help="trials that predicted the same class for every example.",
            value=lambda row: f"{row.collapsed} of {row.seeds}" if row.collapsed else None,
        ),
        Column(
            "latency_p50_ms", "p50 ms", "{:.1f}".format,
            "median latency of single unpadded examples, over all cells and seeds with the same computation.",
        ),
        Column("inference_pairs_per_second", "pairs/s", "{:,.0f}".format, "inference in batches of similar length."),
        Column("storage_bytes", "stored", lambda size: f"{size / 1e6:.1f} MB", "bytes of the weights on disk."),
    ]  # fmt: skip


def create_tables(rows: Iterable[CellRow]) -> list[Table]:
    """Return a table for each task with its fine-tuned models, without students and compressions."""
    finetuned = [row for row in rows if row.source is None]
    return [_create_table([row for row in finetuned if row.task == task]) for task in cell_table.list_tasks(finetuned)]


def _create_table(rows: list[CellRow]) -> Table:
    marks = warning_marks.number_warnings(rows)
    notes = (*filter(None, [latency_pool.format_note(rows)]), *warning_marks.list_outdated(rows))
    return Table(format_title(rows), create_columns(marks), rows, notes, warning_marks.list_warnings(marks))


def format_title(rows: list[CellRow]) -> str:
    """Return the title of a task's table: metric, number of seeds, baseline."""
    measured = [row for row in rows if row.score is not None]
    if not measured:
        return f"{rows[0].task}: no results yet"
    first, metric = measured[0], formatting.format_metric(measured[0].score_name)
    seeds = sorted({row.seeds for row in measured})
    over = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    return (
        f"{first.task}: {metric}, mean over {over} seed{'s' if seeds[-1] > 1 else ''}; "
        f"baseline (best constant answer): {formatting.format_points(first.majority_score)}"
    )


def format_overview(rows: Sequence[CellRow]) -> str:
    """Return in one line how many cells have results, and how many of those are doubtful."""
    done = [row for row in rows if row.score is not None]
    parts = [f"{len(done)} of {len(rows)} cells have results"]
    if collapsed := sum(row.collapsed or 0 for row in done):
        parts.append(f"{collapsed} of {sum(row.seeds for row in done)} trials collapsed to one answer")
    verdicts = [row.above_majority for row in done]
    if below := verdicts.count("no"):
        parts.append(f"{_count_cells(below)} below the baseline")
    if unclear := verdicts.count("unclear"):
        parts.append(f"{_count_cells(unclear)} not clearly above the baseline")
    if single := sum(row.low is None for row in done):
        cells = "cell has" if single == 1 else "cells have"
        parts.append(f"{single} {cells} no interval, since no cell of the task has two seeds that learned")
    if warned := sum(bool(row.warnings) for row in done):
        parts.append(f"{warned} {'cell has' if warned == 1 else 'cells have'} warnings about the data")
    return "; ".join(parts) + "."


def _count_cells(count: int) -> str:
    return f"{count} {'cell is' if count == 1 else 'cells are'}"
