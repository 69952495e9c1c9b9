"""compress: apply one compression method to a trained classifier, then continue its training where the method needs it.

``python -m pipeline.stages.compress --multirun +sweep=seeds source=finetune/mrpc-bert-mini-0.5-standard
compression=heads`` writes ``runs/compress/mrpc-bert-mini-0.5-standard-heads/seed-<seed>/``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.compression.recovery import Recovery
    from pipeline.data.batches import Examples
    from pipeline.execution.trial import TrialLog


def compress(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Write the compressed classifier into ``out`` and return what was changed and what the training after it took."""
    import json
    import time

    from omegaconf import OmegaConf

    from pipeline.compression import recovery
    from pipeline.compression.calibration import Calibration
    from pipeline.core import instantiate
    from pipeline.data import batches
    from pipeline.execution import provenance
    from pipeline.models import load_model
    from pipeline.system import hardware
    from pipeline.tasks import data_warnings, task_config
    from pipeline.training import draw_seeds

    conf: Any = OmegaConf.to_container(cfg)
    task, folder = task_config.load_task(conf["task"]), provenance.find_source_dir(cfg.source, cfg.seed)
    where = f"conf/compression/{cfg.compression.name}.yaml"
    settings = recovery.load_compression(conf["compression"])
    train = batches.read(paths.get_data_dir(task.name) / "train.parquet", cfg.ratio, folder, task.max_length)
    model, tokenizer, _ = load_model.load_finetuned(folder)
    seed = draw_seeds.derive_trial_seed(cfg)  # equal to that of the source
    hardware.make_deterministic(seed)
    given = {"model": model.to(hardware.get_device()), "calibration": Calibration(train)}
    started = time.perf_counter()
    model, changed = instantiate.call_target(settings.method, f"{where}: method", **given)
    seconds = time.perf_counter() - started
    log.print_line(changed)
    source = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    result = {
        "changed": changed,
        "compression_seconds": seconds,
        "train_examples": len(train),
        **data_warnings.compute_truncation(train, "train"),
        "warnings": source.get("warnings", []),  # of the same rows
    }
    if settings.recovery:
        result |= _recover(cfg, seed, model, settings.recovery, train, log)
    load_model.save_classifier(model, tokenizer, out)
    return result


def _recover(cfg: DictConfig, seed: int, model: Any, after: Recovery, train: Examples, log: TrialLog) -> dict[str, Any]:
    """Continue training the compressed model in place with draws from ``seed``; return its cost and scores."""
    from omegaconf import OmegaConf

    from pipeline.data import batches
    from pipeline.execution import provenance
    from pipeline.metrics import registry
    from pipeline.tasks import task_config
    from pipeline.training.distillation import distillation_loss, teacher_outputs
    from pipeline.training.finetune_classifier import finetune_classifier
    from pipeline.training.recipe import Recipe

    conf: Any = OmegaConf.to_container(cfg)
    task, folder = task_config.load_task(conf["task"]), provenance.find_source_dir(cfg.source, cfg.seed)
    data, rate = paths.get_data_dir(task.name), after.rate * conf["recipe"]["learning_rate"]
    recipe = Recipe(**conf["recovery"], epochs=after.epochs, learning_rate=rate)
    selection = batches.read(data / "selection.parquet", 1.0, folder, task.max_length)
    loss = None
    if distillation := after.teacher:
        source = (data / "train.parquet", cfg.ratio, task.max_length, distillation, 0, paths.CACHE)
        answers = teacher_outputs.load_teacher_outputs(provenance.find_source_dir(cfg.origin, cfg.seed), *source)
        loss = distillation_loss.DistillationLoss(distillation, answers, model, train, seed)
    judge = partial(registry.judge, metrics=task.metrics)
    with log.open_progress(recipe.count_steps(len(train))) as progress:
        return finetune_classifier(
            model,
            train,
            selection,
            recipe,
            judge,
            task.score,
            seed,
            log.log_metrics,
            progress.update,
            loss,
            log.open_checkpoint(),
        )


if __name__ == "__main__":
    entry.run_stage(compress)
