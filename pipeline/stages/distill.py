"""distill: a student learns from a teacher's outputs beside the labels; and alone, from the same start, to compare.

``python -m pipeline.stages.distill --multirun +sweep=seeds task=mrpc model=bert-mini ratio=1.0 distillation=logits
teacher=finetune/mrpc-bert-base-1.0`` writes ``runs/distill/mrpc-bert-mini-1.0-logits/seed-<seed>/``, and below it in
``alone/`` the student that had no teacher.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, stage

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.trial import Log


def distill(cfg: DictConfig, out: Path, log: Log) -> dict[str, Any]:
    """Write the student and the tokenizer into ``out`` and return the run's length, cost and scores."""
    from omegaconf import OmegaConf

    from pipeline import origins
    from pipeline.data import batches, data_warnings, tasks
    from pipeline.evaluation import scores
    from pipeline.models import loading, students
    from pipeline.training import distillation, draw_seeds, finetuning, matching, teacher
    from pipeline.training import recipe as recipes

    conf: Any = OmegaConf.to_container(cfg)
    task, settings = tasks.parse(conf["task"]), distillation.parse(conf["distillation"])
    recipe, data = recipes.parse(conf["recipe"]), paths.data(task.name)
    seed = draw_seeds.derive_trial_seed(cfg)
    taught_by = origins.made(cfg.teacher, cfg.seed if settings.teacher_seed is None else settings.teacher_seed)
    begun_from = taught_by if isinstance(settings.start, int) else paths.model(cfg.model.name)
    train = batches.read(data / "train.parquet", cfg.ratio, begun_from, task.max_length)
    selection = batches.read(data / "selection.parquet", 1.0, begun_from, task.max_length)
    longest = batches.longest(begun_from, task.max_length)
    warnings = data_warnings.find_training_warnings(task, train, selection, longest)
    for warning in warnings:
        log.say(warning)
    judge = partial(scores.judge, metrics=task.metrics)

    def student() -> loading.Loaded:
        return students.start(settings.start, begun_from, taught_by, task.labels or (), seed, task.regression)

    model, tokenizer, _ = student()
    asked = (taught_by, data / "train.parquet", cfg.ratio, task.max_length, settings, model.config.num_hidden_layers)
    answers = teacher.asked(*asked, paths.CACHE)
    loss = matching.Loss(settings, answers, model, train, seed)  # before any training: the two may not fit together
    with log.progress(2 * recipe.updates(len(train))) as progress:
        train_by = partial(
            finetuning.finetune, train=train, selection=selection, recipe=recipe, judge=judge, score=task.score,
            seed=seed, advanced=progress.update,
        )  # fmt: skip
        train_by(alone := student().model, checkpoint=log.checkpoint(paths.ALONE, ends=True))
        loading.save(alone, tokenizer, out / paths.ALONE)
        result = train_by(model, record=log.metrics, loss=loss, checkpoint=log.checkpoint())
    loading.save(model, tokenizer, out)
    return {**result, **data_warnings.compute_truncation(train, "train"), "warnings": warnings}


if __name__ == "__main__":
    stage.run(distill)
