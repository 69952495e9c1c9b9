"""Marks such as ``w1`` behind the scores of a table, and the warnings about the data that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pipeline.analysis.report import formatting

if TYPE_CHECKING:
    from pipeline.analysis.results.cell_table import Row


def number_warnings(rows: Iterable[Row]) -> dict[str, str]:
    """Return the mark of each warning of the rows, by its sentence."""
    sentences = dict.fromkeys(sentence for row in rows for sentence in row.warnings)
    return {sentence: f"w{number}" for number, sentence in enumerate(sentences, 1)}


def format_score(row: Row, marks: Mapping[str, str]) -> str:
    """Return the score of a row in hundredths, with the marks of its warnings: ``83.7 (w1, w2)``."""
    marked = ", ".join(marks[sentence] for sentence in row.warnings)
    return f"{formatting.points(row.score)} ({marked})" if marked else formatting.points(row.score)


def list_warnings(marks: Mapping[str, str]) -> tuple[str, ...]:
    """Return what each mark means, a line each."""
    return tuple(f"{mark}: {sentence}" for sentence, mark in marks.items())
