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


def evaluate(cfg: DictConfig, out: Path, log: stage.Log) -> dict[str, Any]:
    """Write what the model says of each reported example into ``out`` and return its quality and its costs."""
    import json

    from omegaconf import OmegaConf

    from pipeline import machine
    from pipeline.data import batches, tasks
    from pipeline.evaluation import cost, predictions, quality, scores
    from pipeline.models import loading
    from pipeline.training.prediction import logits

    conf: Any = OmegaConf.to_container(cfg.task)
    task, data, trained = tasks.parse(conf), paths.data(cfg.task.name), stage.made(cfg.source, cfg.seed)
    model = loading.saved(trained).model.to(machine.device())
    report = batches.read(data / "report.parquet", 1.0, trained, task.max_length)
    majority = json.loads((data / "summary.json").read_text(encoding="utf-8"))["majority"]
    said, speed = cost.predict(model, report)
    predictions.write(out / "predictions.parquet", data / "report.parquet", said)
    log.artifact(out / "predictions.parquet")
    training = json.loads((trained / "trial.json").read_text(encoding="utf-8"))
    result = {
        "family": cfg.model.get("family", "pretrained"),
        **{key: training[key] for key in ("train_examples", "changed") if key in training},
        **quality.quality(scores.predicted(said), report.labels, task.metrics, task.score, majority),
        **cost.storage(model, trained),
        **cost.memory(model),
        "inference_pairs_per_second": speed,
        **cost.latency(model, report),
        **cost.operations(model, report),
        "inference_precision": "fp32",
        "device": machine.device().type,
    }
    if (trained / paths.ALONE).is_dir():  # the student of a teacher, trained without it
        alone = logits(loading.saved(trained / paths.ALONE).model.to(machine.device()), report, "fp32")
        score = scores.judge(alone, report.labels, [task.score])[task.score]
        result |= {"alone_score": score, "gain": result["score"] - score}
    return result


if __name__ == "__main__":
    stage.run(evaluate)
