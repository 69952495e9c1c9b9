"""What is said about rare classes and truncated texts: one sentence each, and nothing where nothing is wrong."""

import numpy as np
import pytest

from pipeline.data.batches import Examples
from pipeline.tasks import data_warnings


def make_examples(lengths: list[int], cut: list[int] | None) -> Examples:
    starts = np.cumsum([0, *lengths])
    lost = None if cut is None else np.array(cut)
    return Examples(np.zeros(starts[-1], dtype=np.int64), None, starts, np.zeros(len(lengths)), pad=0, cut=lost)


def test_classes_with_fewer_than_five_rows_are_named_with_their_rows() -> None:
    labels = np.array([0] * 500 + [1] * 4 + [3] * 5)
    assert data_warnings.find_rare_classes(labels, ["a", "b", "c", "d"], "training rows") == [
        "fewer than 5 training rows of class b (4), c (0)"
    ]


def test_five_rows_of_every_class_are_enough_and_a_regression_has_none() -> None:
    labels = np.array([0, 1] * 5)
    assert data_warnings.find_rare_classes(labels, ["a", "b"], "training rows") == []
    assert data_warnings.find_rare_classes(np.array([0.5, 1.5]), None, "training rows") == []


def test_a_class_that_is_never_predicted_is_named_with_its_rows() -> None:
    labels, predicted = np.array([0] * 90 + [1] * 6 + [2] * 4), np.array([0] * 95 + [1] * 5)
    classes = ["common", "some", "rare", "absent"]
    assert data_warnings.find_missed_classes(predicted, labels, classes) == [
        "no report row is predicted as class rare (4)"
    ]
    assert data_warnings.find_missed_classes(labels, labels, classes) == []
    assert data_warnings.find_missed_classes(np.zeros(100, dtype=np.int64), labels, classes) == []
    assert data_warnings.find_missed_classes(predicted, labels, None) == []


@pytest.mark.parametrize(
    ("longest", "sentence"),
    [
        (8, "1 of 4 report rows are cut to 8 tokens (the max_length of the task): 60.0% of all tokens are lost"),
        (6, "1 of 4 report rows are cut to 6 tokens (the model takes no more, max_length is 8): "
            "60.0% of all tokens are lost"),
    ],
)  # fmt: skip
def test_truncation_is_described_with_its_cause_and_its_size(longest: int, sentence: str) -> None:
    examples = make_examples([5, 5, 4, 6], [0, 0, 0, 30])
    assert data_warnings.find_truncation(examples, "report rows", longest, 8) == [sentence]
    assert data_warnings.compute_truncation(examples, "report") == {
        "truncated_report_rows_pct": 25.0,
        "truncated_report_tokens_pct": 60.0,
    }


def test_a_single_lost_token_of_many_is_not_rounded_to_none() -> None:
    sentences = data_warnings.find_truncation(make_examples([2000], [1]), "report rows", 2000, 2000)
    assert sentences[0].endswith(": less than 0.1% of all tokens are lost")


@pytest.mark.parametrize("cut", [None, [0, 0]])
def test_nothing_is_said_of_texts_that_are_whole(cut: list[int] | None) -> None:
    examples = make_examples([5, 5], cut)
    assert data_warnings.find_truncation(examples, "report rows", 8, 8) == []
    assert set(data_warnings.compute_truncation(examples, "train").values()) == {0.0}


def test_each_warning_is_kept_once_in_order() -> None:
    assert data_warnings.merge_warnings(["b", "a"], [], ["a", "c"]) == ["b", "a", "c"]
