"""finetune: one model on one share of a task's training rows, always from the pre-trained weights.

``python -m pipeline.stages.finetune --multirun +sweep=seeds task=mrpc model=bert-mini ratio=0.5`` writes
``runs/finetune/mrpc-bert-mini-0.5/seed-<seed>/``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, stage

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.data.batches import Examples
    from pipeline.trial import Log


def finetune(cfg: DictConfig, out: Path, log: Log) -> dict[str, Any]:
    """Write the fine-tuned weights and the tokenizer into ``out`` and return the run's length, cost and scores."""
    from omegaconf import OmegaConf

    from pipeline import distributed
    from pipeline.data import batches, tasks
    from pipeline.evaluation import scores
    from pipeline.models import loading
    from pipeline.training import finetuning
    from pipeline.training import recipe as recipes

    conf: Any = OmegaConf.to_container(cfg)
    task = tasks.parse(conf["task"])
    recipe = recipes.parse(conf["recipe"])
    pretrained, data = paths.model(cfg.model.name), paths.data(task.name)
    model, tokenizer, notes = loading.classifier(pretrained, len(task.labels or ()), cfg.seed, task.regression)
    train = batches.read(data / "train.parquet", cfg.ratio, pretrained, task.max_length)
    selection = batches.read(data / "selection.parquet", 1.0, pretrained, task.max_length)
    if cut := _cut(train, task.max_length, batches.longest(pretrained, task.max_length)):
        log.say(cut)
    judge = partial(scores.judge, metrics=task.metrics)
    with log.progress(recipe.updates(len(train))) as progress:
        result = finetuning.finetune(
            model,
            train,
            selection,
            recipe,
            judge,
            task.score,
            cfg.seed,
            log.metrics,
            progress.update,
            checkpoint=log.checkpoint(),
        )
    if distributed.leads():
        loading.save(model, tokenizer, out)
    return {**result, "initialised": ", ".join(notes.initialised)}


def _cut(train: Examples, allowed: int, taken: int) -> str:
    """Say that the model takes fewer tokens than the task allows, where an example is long enough to be cut by it."""
    reached = int((train.lengths >= taken).sum())
    if taken >= allowed or not reached:
        return ""
    return (
        f"{reached} of {len(train)} training examples fill the {taken} tokens that the model takes and may be cut "
        f"(the task's max_length is {allowed})"
    )


if __name__ == "__main__":
    stage.run(finetune)
