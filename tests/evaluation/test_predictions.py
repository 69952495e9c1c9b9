"""What is kept of a model's answers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation import predictions

LOGITS = np.array([[0.25, -1.0], [0.0, 2.0]], dtype=np.float32)


def test_each_row_keeps_its_label_and_what_was_said_of_it(tmp_path: Path) -> None:
    rows = pa.table({"text_a": ["a", "b"], "label": [1, 1], "idx": [7, 3]})
    pq.write_table(rows, tmp_path / "report.parquet")
    predictions.write(tmp_path / "said.parquet", tmp_path / "report.parquet", LOGITS)
    assert pq.read_table(tmp_path / "said.parquet").to_pylist() == [
        {"idx": 7, "label": 1, "prediction": 0, "logit_0": 0.25, "logit_1": -1.0},
        {"idx": 3, "label": 1, "prediction": 1, "logit_0": 0.0, "logit_1": 2.0},
    ]
