"""The evaluate stage, from a fine-tuned trial to its numbers."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score

from pipeline import paths
from pipeline.errors import UserError
from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune

from .conftest import Configure, Told


def trained(configured: Configure, *overrides: str) -> None:
    """Fine-tune a trial into its place, with the record that the frame would write."""
    cfg = configured("finetune", *overrides)
    out = paths.trial("finetune", cfg.cell, cfg.seed, exploration=cfg.exploration)
    out.mkdir(parents=True)
    result = finetune(cfg, out, Told())  # type: ignore[arg-type]
    (out / "trial.json").write_text(json.dumps(result))


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("task", ["rte", "stsb"])
def test_a_trial_is_judged_on_the_reported_split(configured: Configure, tmp_path: Path, task: str) -> None:
    cell = (f"task={task}", "model=bert-tiny", "ratio=0.5")
    trained(configured, *cell)
    result = evaluate(configured("evaluate", *cell), tmp_path, Told())  # type: ignore[arg-type]
    json.dumps(result, allow_nan=False)
    said = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert (len(said["idx"]), result["report_examples"], result["train_examples"]) == (20, 20, 36)
    if task == "rte":
        assert result["score"] == result["accuracy"] == accuracy_score(said["label"], said["prediction"])
        assert result["collapsed"] == (len(set(said["prediction"])) == 1)


@pytest.mark.usefixtures("laboratory")
def test_a_trial_that_was_not_trained_is_asked_for(configured: Configure, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        evaluate(configured("evaluate", "task=rte", "model=bert-tiny", "ratio=0.5"), tmp_path, Told())  # type: ignore[arg-type]
    assert str(error.value) == (
        "runs/exploration/finetune/rte-bert-tiny-0.5/seed-0: not made yet; run finetune with the same arguments first"
    )
