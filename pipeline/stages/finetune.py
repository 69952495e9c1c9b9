"""finetune: one model on one share of a task's training rows, always from the pre-trained weights.

``python -m pipeline.stages.finetune --multirun +sweep=seeds task=mrpc model=bert-mini ratio=0.5 recipe=standard``
writes ``runs/finetune/mrpc-bert-mini-0.5-standard/seed-<seed>/``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.trial import TrialLog


def finetune(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Write the fine-tuned weights and the tokenizer into ``out`` and return the run's length, cost and scores."""
    from omegaconf import OmegaConf

    from pipeline.data import batches
    from pipeline.metrics import registry
    from pipeline.models import load_model
    from pipeline.system import distributed
    from pipeline.tasks import data_warnings, task_config
    from pipeline.training import draw_seeds
    from pipeline.training.finetune_classifier import finetune_classifier
    from pipeline.training.recipe import load_recipe

    conf: Any = OmegaConf.to_container(cfg)
    task = task_config.load_task(conf["task"])
    recipe = load_recipe(conf["recipe"])
    pretrained, data = paths.get_model_dir(cfg.model.name), paths.get_data_dir(task.name)
    seed = draw_seeds.derive_trial_seed(cfg)
    model, tokenizer, notes = load_model.load_pretrained(pretrained, task.labels or (), seed, task.regression)
    train = batches.read(data / "train.parquet", cfg.ratio, pretrained, task.max_length)
    selection = batches.read(data / "selection.parquet", 1.0, pretrained, task.max_length)
    longest = batches.longest(pretrained, task.max_length)
    warnings = data_warnings.find_training_warnings(task, train, selection, longest)
    for warning in warnings:
        log.print_line(warning)
    judge = partial(registry.judge, metrics=task.metrics)
    with log.open_progress(recipe.count_steps(len(train))) as progress:
        result = finetune_classifier(
            model,
            train,
            selection,
            recipe,
            judge,
            task.score,
            seed,
            log.log_metrics,
            progress.update,
            checkpoint=log.open_checkpoint(),
        )
    if distributed.is_rank_zero():
        load_model.save_classifier(model, tokenizer, out)
    return {
        **result,
        **data_warnings.compute_truncation(train, "train"),
        "initialised": ", ".join(notes.initialised),
        "warnings": warnings,
    }


if __name__ == "__main__":
    entry.run_stage(finetune)
