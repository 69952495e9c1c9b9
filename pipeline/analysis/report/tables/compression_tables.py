"""Tables of compression: quality and cost of each step of a chain, and what a teacher adds to its student.

A chain starts at a cell of the grid or a variant. Students and compressions are listed below their source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report import formatting
from pipeline.analysis.report.tables import warning_marks
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import CellRow

INDENT = "\u00a0\u00a0"  # HTML and Markdown would drop ordinary spaces
NOTE = (
    "In brackets: the ratio to the start of the chain. FLOPs: a forward pass for one example of the median length, "
    "including integer operations. Memory: peak of a separate process during prediction, above its memory before it "
    "opened the model."
)


@dataclass(frozen=True)
class ChainStep:
    """A cell of a chain: its distance from the start, its row, and the row of the start."""

    depth: int
    row: CellRow
    start: CellRow

    def format_name(self) -> str:
        """Return the cell's name, indented below its source."""
        return f"{INDENT * self.depth}{self.row.cell} ({self.row.method})" if self.depth else self.row.cell


def _create_ratio_column(key: str, title: str, text: Callable[[float], str], in_terminal: bool = True) -> Column:
    """Return the column of a cost with its ratio to the start of the chain in brackets."""

    def format_ratio(step: ChainStep) -> str | None:
        value, start = getattr(step.row, key), getattr(step.start, key)
        if value is None:
            return None
        return f"{text(value)} ({value / start:.2f})" if start else text(value)

    return Column(key, title, value=format_ratio, in_terminal=in_terminal)


COSTS = (
    _create_ratio_column("parameters", "parameters in all", formatting.format_parameters, in_terminal=False),
    _create_ratio_column("parameters_nonzero", "not zero", formatting.format_parameters),
    _create_ratio_column("storage_bytes", "stored", lambda size: f"{size / 1e6:.2f} MB"),
    _create_ratio_column("inference_flops", "flops", lambda flops: f"{flops / 1e6:.1f}M"),
    _create_ratio_column("latency_p50_ms", "p50 ms", "{:.2f}".format),
    _create_ratio_column("inference_memory_added_mib", "memory, MiB", "{:.0f}".format, in_terminal=False),
)


def create_tables(rows: Sequence[CellRow]) -> list[Table]:
    """Return a table for each chain, then a table of teachers for each task with students."""
    starts = [row for row in rows if not row.source and _find_children(row, rows)]
    chains = [_create_chain_table(start, rows) for start in starts]
    students = [row for row in rows if row.section == "distill"]
    gains = [
        _create_teacher_table(task, [row for row in students if row.task == task])
        for task in cell_table.list_tasks(students)
    ]
    return [*chains, *gains]


def _create_chain_table(start: CellRow, rows: Sequence[CellRow]) -> Table:
    steps = [*_walk_chain(start, start, rows)]
    chain = [step.row for step in steps]
    marks = warning_marks.number_warnings(chain)
    score = Column("score", "score", value=lambda step: warning_marks.format_score(step.row, marks))
    interval = Column(
        "interval", "95%", value=lambda step: formatting.format_score_interval(step.row.low, step.row.high)
    )
    columns = [Column("step", "step", value=ChainStep.format_name), score, interval, *COSTS]
    changes = (f"{row.cell}: {row.changed}" for row in chain if row.changed)
    pooled = filter(None, [latency_pool.format_note(chain)])
    what = f"{start.task}: {start.model}, ratio {start.ratio:g}, {formatting.format_metric(start.score_name)}"
    return Table(
        f"{what}; the ratio to the start in brackets", columns, steps,
        (*pooled, *warning_marks.list_outdated(chain), *changes), warning_marks.list_warnings(marks),
    )  # fmt: skip


def _walk_chain(row: CellRow, start: CellRow, rows: Sequence[CellRow], depth: int = 0) -> Iterator[ChainStep]:
    """Yield a row and everything derived from it, depth first."""
    yield ChainStep(depth, row, start)
    for child in _find_children(row, rows):
        yield from _walk_chain(child, start, rows, depth + 1)


def _find_children(row: CellRow, rows: Sequence[CellRow]) -> list[CellRow]:
    return [child for child in rows if child.source == row.producer]


def _create_teacher_table(task: str, students: Sequence[CellRow]) -> Table:
    metric = formatting.format_metric(next((row.score_name for row in students if row.score_name), None))
    marks = warning_marks.number_warnings(students)
    columns = [
        Column("cell", "student", value=lambda row: f"{row.cell}: {row.model} ({row.method})"),
        Column("source", "teacher"),
        Column("alone_score", "alone", formatting.format_points),
        Column("score", "with teacher", value=partial(warning_marks.format_score, marks=marks)),
        Column("gain", "gain", lambda gain: f"{100 * gain:+.1f}"),
        Column(
            "gain_interval",
            "95% of the gain",
            value=lambda row: formatting.format_score_interval(row.gain_low, row.gain_high),
        ),
    ]
    notes, warnings = warning_marks.list_outdated(students), warning_marks.list_warnings(marks)
    return Table(f"{task}: {metric}, gain of students from their teachers", columns, students, notes, warnings)
