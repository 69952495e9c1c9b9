"""Predictions for each report example, stored to compare models example by example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.metrics import registry


def as_text(values: np.ndarray) -> str:
    """Return classes or numbers (examples,) as text: one digit per class, or numbers separated by spaces."""
    if values.dtype.kind != "f" and values.max(initial=0) <= 9:
        return "".join(map(str, values.tolist()))
    return " ".join(str(value) for value in values)


def from_text(text: str) -> np.ndarray:
    """Parse text of ``as_text``: classes as int64, numbers as float64, (examples,)."""
    if text.isdigit():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - ord("0")
    words = text.split(" ")
    return np.array(words, dtype=np.int64 if all(word.isdigit() for word in words) else np.float64)


def write(path: Path, report: Path, logits: np.ndarray) -> None:
    """Write ``idx``, ``label`` and ``prediction`` of each row of the prepared split ``report``, and its logits.

    ``logits`` is (rows, outputs) and becomes the columns ``logit_0``, ``logit_1``...
    """
    rows = pq.read_table(report, columns=["idx", "label"])
    columns = {f"logit_{output}": logits[:, output] for output in range(logits.shape[1])}
    table = rows.append_column("prediction", pa.array(registry.predicted(logits)))
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path, compression="zstd")
