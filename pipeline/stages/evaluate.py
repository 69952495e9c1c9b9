"""evaluate: quality on the split that is reported, and first costs, of a classifier that another stage made.

``python -m pipeline.stages.evaluate --multirun +sweep=seeds source=finetune/mrpc-bert-mini-0.5`` writes
``metrics/evaluate/mrpc-bert-mini-0.5.json``; ``docs/metrics.md`` says what its keys mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, stage

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.data.batches import Examples
    from pipeline.trial import Log

CARRIED = (  # from the trial that made the classifier
    "train_examples", "changed", "train_seconds", "train_operations", "truncated_train_rows_pct",
    "truncated_train_tokens_pct",
)  # fmt: skip


def evaluate(cfg: DictConfig, out: Path, log: Log) -> dict[str, Any]:
    """Write what the model says of each reported example into ``out`` and return its quality and its costs."""
    import json

    import torch
    from omegaconf import OmegaConf

    from pipeline import machine, origins, quiet
    from pipeline.data import batches, data_warnings, tasks
    from pipeline.evaluation import cost, predictions, quality, scores
    from pipeline.models import loading
    from pipeline.training.objective import objective
    from pipeline.training.prediction import logits

    conf: Any = OmegaConf.to_container(cfg.task)
    task, data, trained = tasks.parse(conf), paths.data(cfg.task.name), origins.made(cfg.source, cfg.seed)
    model = loading.saved(trained).model.to(machine.device())
    report = batches.read(data / "report.parquet", 1.0, trained, task.max_length)
    summary = json.loads((data / "summary.json").read_text(encoding="utf-8"))
    with quiet.measuring(log.say):
        said, speed = cost.predict(model, report)
        speed |= cost.latency(model, report)
    predictions.write(out / "predictions.parquet", data / "report.parquet", said)
    log.artifact(out / "predictions.parquet")
    training = json.loads((trained / "trial.json").read_text(encoding="utf-8"))
    result = {
        "family": cfg.model.get("family", "pretrained"),
        **{key: value for key, value in training.items() if key in CARRIED or "_to_" in key},
        "loss": float(objective(torch.from_numpy(said), torch.from_numpy(report.labels))),
        **quality.quality(scores.predicted(said), report.labels, task.metrics, task.score, summary["majority"]),
        **cost.storage(model, trained),
        **cost.operations(model, report),
        **cost.training(model, report),
        **speed,
        **_memory(trained, report),
        **data_warnings.compute_truncation(report, "report"),
        "warnings": data_warnings.merge_warnings(
            summary.get("warnings", []),
            training.get("warnings", []),
            data_warnings.find_report_warnings(task, report, batches.longest(trained, task.max_length)),
            data_warnings.find_missed_classes(scores.predicted(said), report.labels, task.labels),
        ),
        "inference_precision": "fp32",
        "device": machine.device().type,
        "threads": torch.get_num_threads(),
        "predictions": predictions.as_text(scores.predicted(said)),
        "references": predictions.as_text(report.labels),
    }
    if (trained / paths.ALONE).is_dir():  # the student of a teacher, trained without it
        alone = logits(loading.saved(trained / paths.ALONE).model.to(machine.device()), report, "fp32")
        score = scores.judge(alone, report.labels, [task.score])[task.score]
        result |= {"alone_score": score, "gain": result["score"] - score}
        result["alone_predictions"] = predictions.as_text(scores.predicted(alone))
    return result


def _memory(trained: Path, report: Examples) -> dict[str, float]:
    """Return the peak of a process that does nothing but open the model and predict its longest batch."""
    import torch

    from pipeline.evaluation import memory
    from pipeline.training.prediction import ROWS

    found = memory.apart(
        memory.Request(
            shape=(trained / "config.json").read_text(encoding="utf-8"), precision="fp32",
            threads=torch.get_num_threads(), folder=str(trained), **memory.longest(report, ROWS),
        )
    )  # fmt: skip
    return {name: value for name, value in found.items() if name.startswith("inference_")}


if __name__ == "__main__":
    stage.run(evaluate)
