"""Warnings about the rows behind a score: rare classes and truncated texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.data.batches import Examples
    from pipeline.tasks.task_config import Task

MIN_ROWS = 5  # of a class: fewer are neither learned from nor measured on


def find_rare_classes(labels: np.ndarray, classes: Sequence[str] | None, rows: str) -> list[str]:
    """Return a sentence about the classes with fewer than ``MIN_ROWS`` rows, or nothing.

    ``labels`` (rows,) are numbers of ``classes``, which is None for a regression; ``rows`` names the rows, such as
    ``training rows``.
    """
    if classes is None:
        return []
    counts = np.bincount(labels, minlength=len(classes))
    rare = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < MIN_ROWS]
    return [f"fewer than {MIN_ROWS} {rows} of class {', '.join(rare)}"] if rare else []


def find_training_warnings(task: Task, train: Examples, selection: Examples, longest: int) -> list[str]:
    """Return a sentence for each weakness of the rows that a model is trained and selected on."""
    return [
        *find_rare_classes(train.labels, task.labels, "training rows"),
        *find_rare_classes(selection.labels, task.labels, "selection rows"),
        *find_truncation(train, "training rows", longest, task.max_length),
    ]


def find_report_warnings(task: Task, report: Examples, longest: int) -> list[str]:
    """Return a sentence for each weakness of the rows that a score is reported on."""
    return [
        *find_rare_classes(report.labels, task.labels, "report rows"),
        *find_truncation(report, "report rows", longest, task.max_length),
    ]


def find_missed_classes(predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None) -> list[str]:
    """Return a sentence about the classes that the report split has and the model never predicts, or nothing.

    ``predicted`` and ``labels`` (rows,) are numbers of ``classes``, which is None for a regression. A model that gives
    every row one class is recorded as collapsed, without such a sentence.
    """
    if classes is None or len(np.unique(predicted)) < 2:
        return []
    counts, answers = (np.bincount(each.astype(np.int64), minlength=len(classes)) for each in (labels, predicted))
    missed = [
        f"{name} ({count})" for name, count, times in zip(classes, counts, answers, strict=True) if count and not times
    ]
    return [f"no report row is predicted as class {', '.join(missed)}"] if missed else []


def compute_truncation(examples: Examples, split: str) -> dict[str, float]:
    """Return the shares of rows and of tokens that truncation reached, in percent."""
    cut = _count_cut(examples)
    rows, tokens = 100.0 * float((cut > 0).mean()), 100.0 * float(cut.sum() / (cut.sum() + examples.lengths.sum()))
    return {f"truncated_{split}_rows_pct": rows, f"truncated_{split}_tokens_pct": tokens}


def find_truncation(examples: Examples, rows: str, longest: int, max_length: int) -> list[str]:
    """Return a sentence about texts that were cut to ``longest`` tokens, or nothing.

    ``longest`` is the task's ``max_length`` or the fewer that the model takes.
    """
    cut = _count_cut(examples)
    if not cut.any():
        return []
    lost = cut.sum() / (cut.sum() + examples.lengths.sum())
    limit = "the max_length of the task"
    if longest < max_length:
        limit = f"the model takes no more, max_length is {max_length}"
    return [
        f"{int((cut > 0).sum())} of {len(cut)} {rows} are cut to {longest} tokens ({limit}): "
        f"{_format_share(lost)} of all tokens are lost"
    ]


def merge_warnings(*sources: Iterable[str]) -> list[str]:
    """Return each sentence once, in order."""
    return list(dict.fromkeys(sentence for source in sources for sentence in source))


def _count_cut(examples: Examples) -> np.ndarray:
    return np.zeros(len(examples), dtype=np.int64) if examples.cut is None else examples.cut


def _format_share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
