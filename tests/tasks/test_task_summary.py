"""Counts are those of the rows, and baselines agree with scikit-learn."""

import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pipeline.tasks import task_summary
from pipeline.tasks.task_config import Task


def rows(*labels: float, texts: tuple[str, str] = ("one two three", "four")) -> pa.Table:
    return pa.table({"text_a": [texts[0]] * len(labels), "text_b": [texts[1]] * len(labels), "label": labels})


def test_a_split_is_described_by_its_rows_classes_and_words(task: Task) -> None:
    assert task_summary.describe(task, rows(0, 1, 1)) == {
        "rows": 3,
        "classes": {"no": 1, "yes": 2},
        "words": {"mean": 4.0, "min": 4.0, "median": 4.0, "p95": 4.0, "max": 4.0},
    }


def test_a_class_without_rows_is_counted_too(task: Task) -> None:
    assert task_summary.describe(task, rows(1))["classes"] == {"no": 0, "yes": 1}


def test_a_regression_is_described_by_the_spread_of_its_label(task: Task) -> None:
    scores = task.model_copy(update={"labels": None, "range": (0.0, 5.0)})
    described = task_summary.describe(scores, rows(0.0, 1.0, 5.0))
    assert described["label"] == {"mean": 2.0, "min": 0.0, "median": 1.0, "p95": pytest.approx(4.6), "max": 5.0}


@pytest.mark.parametrize("report", [[1, 1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1]])
@pytest.mark.parametrize("train", [(0, 1, 1), (0, 0, 1)])
def test_the_baseline_of_each_metric_is_its_best_constant_prediction(
    task: Task, train: tuple[int, ...], report: list[int]
) -> None:
    _, scores = task_summary.majority(task, rows(*train), rows(*report))
    constant = [[label] * len(report) for label in (0, 1)]
    assert scores == {
        "accuracy": pytest.approx(max(accuracy_score(report, one) for one in constant)),
        "f1": pytest.approx(max(f1_score(report, one, zero_division=0) for one in constant)),
        "matthews_correlation": max(matthews_corrcoef(report, one) for one in constant),
    }


def test_the_f1_baseline_of_a_minority_class_is_not_zero(task: Task) -> None:
    """In QQP 37% of the pairs are of class 1."""
    most_frequent, scores = task_summary.majority(task, rows(0, 0, 1), rows(*[0] * 63, *[1] * 37))
    assert (most_frequent, scores["f1"]) == ("no", pytest.approx(0.54, abs=0.001))


def test_the_baseline_of_a_regression_is_no_correlation(task: Task) -> None:
    scores = task.model_copy(update={"labels": None, "range": (0.0, 5.0), "metrics": ("pearson", "spearmanr")})
    assert task_summary.majority(scores, rows(1.0), rows(2.0)) == (None, {"pearson": 0.0, "spearmanr": 0.0})
