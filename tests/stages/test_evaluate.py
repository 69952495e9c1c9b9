"""The evaluate stage, from a trained trial to its numbers."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score

from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune

from .conftest import Configure, Told, done


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("task", ["rte", "stsb"])
def test_a_trial_is_judged_on_the_reported_split(configured: Configure, tmp_path: Path, task: str) -> None:
    source = done(finetune, configured("finetune", f"task={task}", "model=bert-tiny", "ratio=0.5"))
    result = evaluate(configured("evaluate", f"source={source}"), tmp_path, Told())  # type: ignore[arg-type]
    json.dumps(result, allow_nan=False)
    said = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert (len(said["idx"]), result["report_examples"], result["train_examples"]) == (20, 20, 36)
    if task == "rte":
        assert result["score"] == result["accuracy"] == accuracy_score(said["label"], said["prediction"])
        assert result["collapsed"] == (len(set(said["prediction"])) == 1)
    assert "gain" not in result
