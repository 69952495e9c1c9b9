"""evaluate: quality on the split that is reported, and first costs, of a classifier that another stage made.

``python -m pipeline.stages.evaluate --multirun +sweep=seeds source=finetune/mrpc-bert-mini-0.5-standard`` writes
``metrics/evaluate/mrpc-bert-mini-0.5-standard.json``; ``docs/metrics.md`` explains its keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.data.batches import Examples
    from pipeline.execution.trial import TrialLog

CARRIED = (  # from the trial that made the classifier
    "train_examples", "changed", "train_seconds", "train_flops", "truncated_train_rows_pct",
    "truncated_train_tokens_pct",
)  # fmt: skip


def evaluate(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Write the predictions for the report split into ``out`` and return quality and costs."""
    import json

    import torch
    from omegaconf import OmegaConf

    from pipeline.data import batches
    from pipeline.evaluation import predictions, quality
    from pipeline.evaluation.cost import model_cost
    from pipeline.execution import provenance
    from pipeline.metrics import registry
    from pipeline.models import load_model
    from pipeline.system import hardware, machine_lock
    from pipeline.tasks import data_warnings, task_config
    from pipeline.training.predict import predict_logits
    from pipeline.training.task_loss import compute_task_loss

    conf: Any = OmegaConf.to_container(cfg.task)
    task, data, trained = (
        task_config.load_task(conf),
        paths.get_data_dir(cfg.task.name),
        provenance.find_source_dir(cfg.source, cfg.seed),
    )
    model = load_model.load_finetuned(trained).model.to(hardware.get_device())
    report = batches.read(data / "report.parquet", 1.0, trained, task.max_length)
    summary = json.loads((data / "summary.json").read_text(encoding="utf-8"))
    with machine_lock.lock_for_measurement(log.print_line):
        said, speed = model_cost.predict(model, report)
        speed |= model_cost.latency(model, report)
    predictions.write(out / "predictions.parquet", data / "report.parquet", said)
    log.log_artifact(out / "predictions.parquet")
    training = json.loads((trained / "trial.json").read_text(encoding="utf-8"))
    result = {
        "family": cfg.model.get("family", "pretrained"),
        **{key: value for key, value in training.items() if key in CARRIED or "_to_" in key},
        "loss": float(compute_task_loss(torch.from_numpy(said), torch.from_numpy(report.labels))),
        **quality.quality(registry.predicted(said), report.labels, task.metrics, task.score, summary["majority"]),
        **model_cost.storage(model, trained),
        **model_cost.flops(model, report),
        **model_cost.training(model, report),
        **speed,
        **_memory(trained, report),
        **data_warnings.compute_truncation(report, "report"),
        "warnings": data_warnings.merge_warnings(
            summary.get("warnings", []),
            training.get("warnings", []),
            data_warnings.find_report_warnings(task, report, batches.longest(trained, task.max_length)),
            data_warnings.find_missed_classes(registry.predicted(said), report.labels, task.labels),
        ),
        "inference_precision": "fp32",
        "device": hardware.get_device().type,
        "threads": torch.get_num_threads(),
        "predictions": predictions.as_text(registry.predicted(said)),
        "references": predictions.as_text(report.labels),
    }
    if (trained / paths.ALONE).is_dir():  # the student of a teacher, trained without it
        alone = predict_logits(
            load_model.load_finetuned(trained / paths.ALONE).model.to(hardware.get_device()), report, "fp32"
        )
        score = registry.judge(alone, report.labels, [task.score])[task.score]
        result |= {"alone_score": score, "gain": result["score"] - score}
        result["alone_predictions"] = predictions.as_text(registry.predicted(alone))
    return result


def _memory(trained: Path, report: Examples) -> dict[str, float]:
    """Return the peak of a process that does nothing but open the model and predict its longest batch."""
    import torch

    from pipeline.evaluation.cost import memory
    from pipeline.training.predict import ROWS

    found = memory.apart(
        memory.Request(
            shape=(trained / "config.json").read_text(encoding="utf-8"), precision="fp32",
            threads=torch.get_num_threads(), folder=str(trained), **memory.longest(report, ROWS),
        )
    )  # fmt: skip
    return {name: value for name, value in found.items() if name.startswith("inference_")}


if __name__ == "__main__":
    entry.run_stage(evaluate)
