"""Summary numbers of a prepared task: counts, class balance, lengths, baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.tasks.task_config import Task


def describe(task: Task, table: pa.Table) -> dict[str, Any]:
    """Return rows, class counts (or the spread of a regression's labels) and words per row of a split."""
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


def majority(task: Task, train: pa.Table, report: pa.Table) -> tuple[str | None, dict[str, float]]:
    """Return the most frequent class of train, and the baseline of each metric on ``report``.

    The baseline is the best score of one answer for every example. With p the share of a class in ``report``:
    accuracy is the largest p; F1 (of label 1) is 2p / (1 + p) for label 1, also where that is the minority; Matthews'
    correlation and those of a regression are 0, as scikit-learn has it for predictions that do not vary.
    """
    if task.labels is None:
        return None, dict.fromkeys(task.metrics, 0.0)
    most_frequent = int(np.bincount(train["label"].to_numpy(), minlength=len(task.labels)).argmax())
    counts = np.bincount(report["label"].to_numpy(), minlength=len(task.labels))
    shares = counts / counts.sum()
    scores = {
        "accuracy": float(shares.max()),
        "f1": float(2 * shares[1] / (1 + shares[1])),
        "matthews_correlation": 0.0,
    }
    return task.labels[most_frequent], {metric: scores[metric] for metric in task.metrics}
