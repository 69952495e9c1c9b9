"""Counts are those of the rows, and the majority baseline is what scikit-learn says of it."""

from dataclasses import replace

import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pipeline.data import summary
from pipeline.data.tasks import Task


def rows(*labels: float, texts: tuple[str, str] = ("one two three", "four")) -> pa.Table:
    return pa.table({"text_a": [texts[0]] * len(labels), "text_b": [texts[1]] * len(labels), "label": labels})


def test_a_split_is_described_by_its_rows_classes_and_words(task: Task) -> None:
    assert summary.describe(task, rows(0, 1, 1)) == {
        "rows": 3,
        "classes": {"no": 1, "yes": 2},
        "words": {"mean": 4.0, "min": 4.0, "median": 4.0, "p95": 4.0, "max": 4.0},
    }


def test_a_class_without_rows_is_counted_too(task: Task) -> None:
    assert summary.describe(task, rows(1))["classes"] == {"no": 0, "yes": 1}


def test_a_regression_is_described_by_the_spread_of_its_label(task: Task) -> None:
    scores = replace(task, labels=None, range=(0.0, 5.0))
    described = summary.describe(scores, rows(0.0, 1.0, 5.0))
    assert described["label"] == {"mean": 2.0, "min": 0.0, "median": 1.0, "p95": pytest.approx(4.6), "max": 5.0}


@pytest.mark.parametrize("train", [(0, 1, 1), (0, 0, 1)])
def test_the_majority_baseline_is_what_scikit_learn_gives_it(task: Task, train: tuple[int, ...]) -> None:
    report = [1, 1, 1, 0, 1, 0, 0]
    said, scores = summary.majority(task, rows(*train), rows(*report))
    constant = [task.labels.index(said)] * len(report)  # type: ignore[union-attr, arg-type]
    assert scores == {
        "accuracy": pytest.approx(accuracy_score(report, constant)),
        "f1": pytest.approx(f1_score(report, constant)),
        "matthews_correlation": matthews_corrcoef(report, constant),
    }


def test_a_regression_has_no_majority(task: Task) -> None:
    scores = replace(task, labels=None, range=(0.0, 5.0), metrics=("pearson", "spearmanr"))
    assert summary.majority(scores, rows(1.0), rows(2.0)) == (None, {"pearson": None, "spearmanr": None})
