"""The evaluate stage, from a trained trial to its numbers."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import logsumexp
from sklearn.metrics import accuracy_score

from pipeline.evaluation import predictions
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
    np.testing.assert_array_equal(predictions.from_text(result["references"]), np.array(said["label"], dtype=float))
    np.testing.assert_allclose(predictions.from_text(result["predictions"]), said["prediction"], rtol=1e-6)
    logits = np.column_stack([said[name] for name in said if name.startswith("logit_")])
    if task == "rte":
        losses = logsumexp(logits, axis=1) - logits[np.arange(20), said["label"]]
        assert result["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert result["score"] == result["accuracy"] == accuracy_score(said["label"], said["prediction"])
        assert result["collapsed"] == (len(set(said["prediction"])) == 1)
    else:
        assert result["loss"] == pytest.approx(np.mean((logits[:, 0] - said["label"]) ** 2), rel=1e-5)
    assert "gain" not in result
