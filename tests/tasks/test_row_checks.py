"""What cannot be trained on is refused in one line; what is odd is counted and kept."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.tasks import row_checks
from pipeline.tasks.row_checks import Finding
from pipeline.tasks.task_config import Columns, Selection, Task

PAIRS = Task(
    name="made-up",
    source={},
    columns=Columns(text_a="one", text_b="two", label="same"),
    labels=("no", "yes"),
    range=None,
    metrics=("accuracy",),
    score="accuracy",
    report="validation",
    train_counts=(1, 1),
    selection=Selection(fraction=0.1, seed=0),
    subset_seed=0,
    max_length=8,
)
SCORES = PAIRS.model_copy(update={"labels": None, "range": (0.0, 5.0), "metrics": ("pearson",), "score": "pearson"})
SINGLE = PAIRS.model_copy(update={"columns": Columns(text_a="one", label="same")})


def pairs(*rows: tuple[Any, Any, Any]) -> pa.Table:
    one, two, same = zip(*rows, strict=True)
    return pa.table({"one": pa.array(one), "two": pa.array(two), "same": pa.array(same)})


def refusal(task: Task, table: pa.Table) -> str:
    with pytest.raises(UserError) as error:
        row_checks.check(task, "train", table)
    return str(error.value)


def test_a_split_comes_out_in_the_columns_of_the_project() -> None:
    table, findings = row_checks.check(PAIRS, "train", pairs(("a", "b", 0), ("c", "d", 1)))
    assert table.to_pylist() == [
        {"text_a": "a", "text_b": "b", "label": 0, "idx": 0},
        {"text_a": "c", "text_b": "d", "label": 1, "idx": 1},
    ]
    assert table.schema.types == [pa.string(), pa.string(), pa.int64(), pa.int64()]
    assert {finding.rows for finding in findings.values()} == {0}


def test_a_task_on_single_sentences_has_no_second_text() -> None:
    table, _ = row_checks.check(SINGLE, "train", pairs(("a", "b", 0)))
    assert table["text_b"].to_pylist() == [None]
    assert table.schema.field("text_b").type == pa.string()


@pytest.mark.parametrize("label", [1, 1.0, "1", "1.0", "yes"])
def test_a_label_is_known_by_its_number_or_its_name(label: object) -> None:
    table, _ = row_checks.check(PAIRS, "train", pairs(("a", "b", label)))
    assert table["label"].to_pylist() == [1]


def test_the_label_of_a_regression_is_a_number() -> None:
    table, _ = row_checks.check(SCORES, "train", pairs(("a", "b", "3.25"), ("c", "d", "5")))
    assert table["label"].to_pylist() == [3.25, 5.0]
    assert table.schema.field("label").type == pa.float64()


def test_missing_columns_are_told_with_those_that_there_are() -> None:
    table = pa.table({"first": ["a"], "same": [0]})
    assert refusal(PAIRS, table) == (
        "task made-up: train: 2 of 3 columns missing: one, two; there are first, same; "
        "name them under columns in conf/task/made-up.yaml"
    )


def test_unknown_labels_are_counted_and_the_first_is_shown() -> None:
    table = pairs(("a", "b", "yes"), ("c", "d", "maybe"), ("e", "f", "2"))
    assert refusal(PAIRS, table) == (
        "task made-up: train: 2 rows with an unknown label, the first is row 1: 'maybe'; allowed: 0 or no, 1 or yes"
    )


@pytest.mark.parametrize("hidden", [-1, 0.5, 2])
def test_a_number_that_is_no_label_is_unknown(hidden: float) -> None:
    assert refusal(PAIRS, pairs(("a", "b", hidden))).startswith("task made-up: train: 1 rows with an unknown label")


@pytest.mark.parametrize("score", [5.01, -0.1, float("nan")])
def test_a_score_outside_the_range_is_unknown(score: float) -> None:
    assert refusal(SCORES, pairs(("a", "b", 1.0), ("c", "d", score))) == (
        f"task made-up: train: 1 rows with an unknown label, the first is row 1: {score!r}; "
        "allowed: numbers in [0.0, 5.0]"
    )


def test_a_column_without_text_is_refused() -> None:
    assert refusal(PAIRS, pairs((7, "b", 0))) == (
        "task made-up: train: column 'one': 1 rows hold no text, the first is row 0: 7; write strings"
    )


def test_a_row_with_a_field_missing_is_left_out_and_counted() -> None:
    table, findings = row_checks.check(PAIRS, "train", pairs(("a", "b", 0), ("c", None, 1), ("e", "f", None)))
    assert table["idx"].to_pylist() == [0]
    assert findings["incomplete"] == Finding(rows=2, first=1)


def test_odd_rows_are_counted_and_kept() -> None:
    rows = [("a", "b", 0), ("a", " ", 0), ("caf\ufffd", "b", 1), ("x\x12y", "b", 1), ("a", "b", 0), ("b", "a", 1)]
    table, findings = row_checks.check(PAIRS, "train", pairs(*rows))
    assert table.num_rows == len(rows)
    assert findings == {
        "incomplete": Finding(0, None),
        "empty_text": Finding(1, 1),
        "broken_encoding": Finding(2, 2),
        "duplicate": Finding(2, 4),
        "contradicting_duplicate": Finding(1, 5),
    }


def test_other_alphabets_and_tabs_are_no_broken_encoding() -> None:
    _, findings = row_checks.check(PAIRS, "train", pairs(("Müller\tсказал", "結論 “quoted”…", 0)))
    assert findings["broken_encoding"] == Finding(0, None)


def test_a_leak_is_found_in_either_order_of_the_texts() -> None:
    train, _ = row_checks.check(PAIRS, "train", pairs(("a", "b", 0), ("c", "d", 1)))
    report, _ = row_checks.check(PAIRS, "validation", pairs(("e", "f", 0), ("a", "b", 1), ("d", "c", 1)))
    assert row_checks.leaks(train, report) == Finding(rows=2, first=1)
    assert row_checks.count_relabelled(train, report) == 1
    assert row_checks.count_relabelled(train, train) == 0


TEXTS = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 1)), min_size=1, max_size=30))
def test_duplicates_are_the_rows_beyond_the_distinct_ones(rows: list[tuple[str, str, int]]) -> None:
    _, findings = row_checks.check(PAIRS, "train", pairs(*rows))
    distinct = {frozenset((one, two)) for one, two, _ in rows}
    assert findings["duplicate"].rows == len(rows) - len(distinct)
