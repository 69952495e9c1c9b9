"""What a prepared task is, in numbers: counts, balance, lengths, and what always saying the same would score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.tasks import Task


def describe(task: Task, table: pa.Table) -> dict[str, Any]:
    """Return the counts of a split, which has rows: rows, classes (or a regression's spread of labels), words a row."""
    labels = table["label"].to_numpy()
    texts = (table[column].to_pylist() for column in task.texts)
    words = np.array([sum(len(text.split()) for text in row) for row in zip(*texts, strict=True)])
    return {"rows": table.num_rows, **_balance(task, labels), "words": _spread(words)}


def _balance(task: Task, labels: np.ndarray) -> dict[str, Any]:
    if task.labels is None:
        return {"label": _spread(labels)}
    counts = np.bincount(labels, minlength=len(task.labels))
    return {"classes": {label: int(count) for label, count in zip(task.labels, counts, strict=True)}}


def _spread(values: np.ndarray) -> dict[str, float]:
    low, median, p95, high = (float(np.percentile(values, share)) for share in (0, 50, 95, 100))
    return {"mean": float(values.mean()), "min": low, "median": median, "p95": p95, "max": high}


def majority(task: Task, train: pa.Table, report: pa.Table) -> tuple[str | None, dict[str, float | None]]:
    """Return the most frequent class of train and what saying it of every row of ``report`` scores, by metric.

    With p the share of that class in ``report``: accuracy is p; F1 (of label 1) is 2p / (1 + p), or 0 when the class
    is label 0; Matthews' correlation is 0 by convention, as scikit-learn has it. A regression says one number, of
    which no correlation is defined: None.
    """
    if task.labels is None:
        return None, dict.fromkeys(task.metrics)
    said = int(np.bincount(train["label"].to_numpy(), minlength=len(task.labels)).argmax())
    share = float((report["label"].to_numpy() == said).mean())
    scores = {
        "accuracy": share,
        "f1": 2 * share / (1 + share) if said == 1 else 0.0,
        "matthews_correlation": 0.0,
    }
    return task.labels[said], {metric: scores[metric] for metric in task.metrics}
