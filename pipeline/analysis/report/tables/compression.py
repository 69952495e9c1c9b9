"""What each step of a chain did to quality and cost, beside what it started from; and what a teacher gave its student.

A chain starts at a cell of the grid or a variant. Its students and compressions stand below it, each below its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report import formatting, warning_marks
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import Row, Sheet

INDENT = "\u00a0\u00a0"  # spaces that neither HTML nor Markdown takes away
STEPS = (
    "step",
    "score",
    "95%",
    "parameters in all",
    "not zero",
    "stored",
    "flops",
    "p50 ms",
    "memory, MiB",
)
GAINS = ("student", "teacher", "alone", "with teacher", "gain", "95% of the gain")
NOTE = (
    "Behind each cost, its ratio to the start. FLOPs: of a forward pass for one example of the median length, "
    "integer ones included. Memory: the peak in a process of its own while it predicts, above what that process held "
    "before it opened the model."
)


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Return the ledger of each start that something is made of, then the gains of the students, of each task."""
    starts = [row for row in rows if not row.source and _below(row, rows)]
    ledgers = [_ledger(start, rows) for start in starts]
    students = [row for row in rows if row.section == "distill"]
    gains = [_gains(task, [row for row in students if row.task == task]) for task in cell_table.tasks(students)]
    return [*ledgers, *gains]


def _gains(task: str, students: Sequence[Row]) -> Sheet:
    title = f"{task}: {formatting.metric(_name(students))}, what a teacher gives its student"
    marks = warning_marks.number_warnings(students)
    rows = [_gain(row, marks) for row in students]
    return Sheet(title, GAINS, rows, cell_table.list_holes(students), warning_marks.list_warnings(marks))


def _name(rows: Sequence[Row]) -> str | None:
    return next((row.score_name for row in rows if row.score_name), None)


def _ledger(start: Row, rows: Sequence[Row]) -> Sheet:
    chain = [*_chain(start, rows)]
    what = f"{start.task}: {start.model}, ratio {start.ratio:g}, {formatting.metric(start.score_name)}"
    notes = tuple(f"{row.cell}: {row.changed}" for _, row in chain if row.changed)
    title = f"{what}; the ratio to the start in brackets"
    rows = [row for _, row in chain]
    marks = warning_marks.number_warnings(rows)
    steps = [_step(depth, row, start, marks) for depth, row in chain]
    pooled = filter(None, [latency_pool.format_note(rows)])
    return Sheet(
        title, STEPS, steps, (*pooled, *cell_table.list_holes(rows), *notes), warning_marks.list_warnings(marks)
    )


def _chain(row: Row, rows: Sequence[Row], depth: int = 0) -> Iterator[tuple[int, Row]]:
    """Yield a row and all that is made of it, with the number of steps from the start."""
    yield depth, row
    for step in _below(row, rows):
        yield from _chain(step, rows, depth + 1)


def _below(row: Row, rows: Sequence[Row]) -> list[Row]:
    return [step for step in rows if step.source == row.made]


def _step(depth: int, row: Row, start: Row, marks: Mapping[str, str]) -> list[str]:
    name = row.cell if depth == 0 else f"{INDENT * depth}{row.cell} ({row.method})"
    if row.score is None:
        return [name, cell_table.state(row.hole), *[""] * (len(STEPS) - 2)]
    return [
        name,
        warning_marks.format_score(row, marks),
        formatting.between(row.low, row.high),
        _ratio(row.parameters, start.parameters, lambda count: formatting.count(int(count))),
        _ratio(row.parameters_nonzero, start.parameters_nonzero, lambda count: formatting.count(int(count))),
        _ratio(row.storage_bytes, start.storage_bytes, lambda size: f"{size / 1e6:.2f} MB"),
        _ratio(row.inference_flops, start.inference_flops, lambda ops: f"{ops / 1e6:.1f}M"),
        _ratio(row.latency_p50_ms, start.latency_p50_ms, lambda ms: f"{ms:.2f}"),
        _ratio(row.inference_memory_added_mib, start.inference_memory_added_mib, lambda mib: f"{mib:.0f}"),
    ]


def _ratio(value: float | None, start: float | None, shown: Callable[[float], str]) -> str:
    if value is None:
        return ""
    return f"{shown(value)} ({value / start:.2f})" if start else shown(value)


def _gain(row: Row, marks: Mapping[str, str]) -> list[str]:
    return [
        f"{row.cell}: {row.model} ({row.method})",
        str(row.source),
        formatting.points(row.alone_score),
        cell_table.state(row.hole) if row.score is None else warning_marks.format_score(row, marks),
        "" if row.gain is None else f"{100 * row.gain:+.1f}",
        formatting.between(row.gain_low, row.gain_high),
    ]
