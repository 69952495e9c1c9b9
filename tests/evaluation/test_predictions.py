"""What is kept of a model's answers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation import predictions

LOGITS = np.array([[0.25, -1.0], [0.0, 2.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array([0, 1, 1, 0]), "0110"),
        (np.array([11, 2]), "11 2"),
        (np.array([2.5, -0.1], dtype=np.float32), "2.5 -0.1"),
        (np.array([3.0]), "3.0"),
    ],
)
def test_answers_come_back_from_their_text(values: np.ndarray, text: str) -> None:
    assert predictions.as_text(values) == text
    back = predictions.from_text(text)
    assert back.dtype.kind == values.dtype.kind
    np.testing.assert_array_equal(back.astype(values.dtype), values)


def test_each_row_keeps_its_label_and_what_was_said_of_it(tmp_path: Path) -> None:
    rows = pa.table({"text_a": ["a", "b"], "label": [1, 1], "idx": [7, 3]})
    pq.write_table(rows, tmp_path / "report.parquet")
    predictions.write(tmp_path / "said.parquet", tmp_path / "report.parquet", LOGITS)
    assert pq.read_table(tmp_path / "said.parquet").to_pylist() == [
        {"idx": 7, "label": 1, "prediction": 0, "logit_0": 0.25, "logit_1": -1.0},
        {"idx": 3, "label": 1, "prediction": 1, "logit_0": 0.0, "logit_1": 2.0},
    ]
