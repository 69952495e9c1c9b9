"""The evaluate stage, from a fine-tuned trial to its numbers; and the page that says what they mean."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score

from pipeline import paths
from pipeline.errors import UserError
from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune

from .conftest import Configure, Told

METRICS = ("accuracy", "f1", "matthews_correlation", "pearson", "spearmanr")
PAGE = paths.ROOT / "docs" / "metrics.md"


def trained(configured: Configure, *overrides: str) -> tuple[dict[str, Any], Told]:
    """Fine-tune a trial into its place, with the record that the frame would write."""
    cfg, log = configured("finetune", *overrides), Told()
    out = paths.trial("finetune", cfg.cell, cfg.seed, exploration=cfg.exploration)
    out.mkdir(parents=True)
    result = finetune(cfg, out, log)  # type: ignore[arg-type]
    (out / "trial.json").write_text(json.dumps(result))
    return result, log


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("task", ["rte", "stsb"])
def test_a_trial_is_judged_on_the_reported_split(configured: Configure, tmp_path: Path, task: str) -> None:
    cell = (f"task={task}", "model=bert-tiny", "ratio=0.5")
    tuned, log = trained(configured, *cell)
    result = evaluate(configured("evaluate", *cell), tmp_path, Told())  # type: ignore[arg-type]
    json.dumps(result, allow_nan=False)
    said = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert (len(said["idx"]), result["report_examples"], result["train_examples"]) == (20, 20, 36)
    if task == "rte":
        assert result["score"] == result["accuracy"] == accuracy_score(said["label"], said["prediction"])
        assert result["collapsed"] == (len(set(said["prediction"])) == 1)
    curve = {name for _, values in log.curve for name in values}
    unexplained = {*tuned, *result, *curve} - _explained()
    assert not unexplained


def _explained() -> set[str]:
    """Return every key of the page, those of ``<metric>`` written out."""
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    return {key.replace("<metric>", metric) for key in keys for metric in METRICS}


@pytest.mark.usefixtures("laboratory")
def test_a_trial_that_was_not_trained_is_asked_for(configured: Configure, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        evaluate(configured("evaluate", "task=rte", "model=bert-tiny", "ratio=0.5"), tmp_path, Told())  # type: ignore[arg-type]
    assert str(error.value) == (
        "runs/exploration/finetune/rte-bert-tiny-0.5/seed-0: not made yet; run finetune with the same arguments first"
    )
