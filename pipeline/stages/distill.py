"""distill: train a student on the labels and a teacher's outputs, and the same student without the teacher.

``python -m pipeline.stages.distill --multirun +sweep=seeds task=mrpc model=bert-mini ratio=1.0 distillation=logits
teacher=finetune/mrpc-bert-base-1.0-standard`` writes ``runs/distill/mrpc-bert-mini-1.0-standard-logits/seed-<seed>/``.
Its subfolder ``alone/`` holds the student without the teacher.
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


def distill(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Write the student and the tokenizer into ``out`` and return the run's length, cost and scores."""
    from omegaconf import OmegaConf

    from pipeline.data import batches
    from pipeline.execution import provenance
    from pipeline.metrics import registry
    from pipeline.models import load_model, student_init
    from pipeline.tasks import data_warnings, task_config
    from pipeline.training import draw_seeds
    from pipeline.training.distillation import distillation_loss, distillation_settings, teacher_outputs
    from pipeline.training.finetune_classifier import finetune_classifier
    from pipeline.training.recipe import load_recipe

    conf: Any = OmegaConf.to_container(cfg)
    task, settings = task_config.load_task(conf["task"]), distillation_settings.load_distillation(conf["distillation"])
    recipe, data = load_recipe(conf["recipe"]), paths.get_data_dir(task.name)
    seed = draw_seeds.derive_trial_seed(cfg)
    taught_by = provenance.find_source_dir(
        cfg.teacher, cfg.seed if settings.teacher_seed is None else settings.teacher_seed
    )
    begun_from = taught_by if isinstance(settings.start, int) else paths.get_model_dir(cfg.model.name)
    train = batches.read(data / "train.parquet", cfg.ratio, begun_from, task.max_length)
    selection = batches.read(data / "selection.parquet", 1.0, begun_from, task.max_length)
    longest = batches.longest(begun_from, task.max_length)
    warnings = data_warnings.find_training_warnings(task, train, selection, longest)
    for warning in warnings:
        log.print_line(warning)
    judge = partial(registry.judge, metrics=task.metrics)

    def student() -> load_model.LoadedClassifier:
        return student_init.create_student(
            settings.start, begun_from, taught_by, task.labels or (), seed, task.regression
        )

    model, tokenizer, _ = student()
    request = (taught_by, data / "train.parquet", cfg.ratio, task.max_length, settings, model.config.num_hidden_layers)
    answers = teacher_outputs.load_teacher_outputs(*request, paths.CACHE)
    loss = distillation_loss.DistillationLoss(
        settings, answers, model, train, seed
    )  # before any training: the two may not fit together
    with log.open_progress(2 * recipe.count_steps(len(train))) as progress:
        train_by = partial(
            finetune_classifier, train=train, selection=selection, recipe=recipe,
            compute_metrics=judge,
            score_name=task.score,
            seed=seed, on_step=progress.update,
        )  # fmt: skip
        train_by(alone := student().model, checkpoint=log.open_checkpoint(paths.ALONE, ends=True))
        load_model.save_classifier(alone, tokenizer, out / paths.ALONE)
        result = train_by(model, log_metrics=log.log_metrics, loss=loss, checkpoint=log.open_checkpoint())
    load_model.save_classifier(model, tokenizer, out)
    return {**result, **data_warnings.compute_truncation(train, "train"), "warnings": warnings}


if __name__ == "__main__":
    entry.run_stage(distill)
