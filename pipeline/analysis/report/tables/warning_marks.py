"""Marks such as ``w1`` behind the scores of a table, and the warnings about the data that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.analysis.report import formatting
from pipeline.analysis.results.cell_table import CellRow
from pipeline.core import records


def number_warnings(rows: Iterable[CellRow]) -> dict[str, str]:
    """Return the mark of each warning of the rows, by its sentence."""
    sentences = dict.fromkeys(sentence for row in rows for sentence in row.warnings)
    return {sentence: f"w{number}" for number, sentence in enumerate(sentences, 1)}


def format_score(row: CellRow, marks: Mapping[str, str]) -> str:
    """Return a score in hundredths with its warning marks, ``83.7 (w1, w2)``, or why there is none."""
    if row.score is None:
        return format_state(row.missing_reason)
    marked = ", ".join(marks[sentence] for sentence in row.warnings)
    return f"{formatting.format_points(row.score)} ({marked})" if marked else formatting.format_points(row.score)


def format_state(reason: str | None) -> str:
    """Return in one or two words why a cell has no results."""
    return records.NOT_RUN if reason in (None, records.NOT_RUN) else "outdated"


def list_warnings(marks: Mapping[str, str]) -> tuple[str, ...]:
    """Return the meaning of each mark, one line each."""
    return tuple(f"{mark}: {sentence}" for sentence, mark in marks.items())


def list_outdated(rows: Iterable[CellRow]) -> tuple[str, ...]:
    """Return a note for each cell whose record is outdated: its name and the reason."""
    return tuple(
        f"{row.cell}: {row.missing_reason}" for row in rows if row.missing_reason not in (None, records.NOT_RUN)
    )
