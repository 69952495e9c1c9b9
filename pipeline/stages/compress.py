"""compress: a trained classifier made cheaper by one method, and trained on where the method's file asks for it.

``python -m pipeline.stages.compress --multirun +sweep=seeds source=finetune/mrpc-bert-mini-0.5 compression=heads``
writes ``runs/compress/mrpc-bert-mini-0.5-heads/seed-<seed>/``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, stage

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.compression.recovery import Recovery
    from pipeline.data.batches import Examples
    from pipeline.trial import Log


def compress(cfg: DictConfig, out: Path, log: Log) -> dict[str, Any]:
    """Write the compressed classifier into ``out`` and return what was changed and what the training after it took."""
    import json
    import time

    from omegaconf import OmegaConf

    from pipeline import machine, origins, target
    from pipeline.compression import recovery
    from pipeline.compression.calibration import Calibration
    from pipeline.data import batches, data_warnings, tasks
    from pipeline.models import loading
    from pipeline.training import draw_seeds

    conf: Any = OmegaConf.to_container(cfg)
    task, folder = tasks.parse(conf["task"]), origins.made(cfg.source, cfg.seed)
    where = f"conf/compression/{cfg.compression.name}.yaml"
    after = recovery.parse(conf["compression"].get("recovery"), where)
    train = batches.read(paths.data(task.name) / "train.parquet", cfg.ratio, folder, task.max_length)
    model, tokenizer, _ = loading.saved(folder)
    seed = draw_seeds.derive_trial_seed(cfg)  # equal to that of the source
    machine.make_repeatable(seed)
    given = {"model": model.to(machine.device()), "calibration": Calibration(train)}
    started = time.perf_counter()
    model, changed = target.call(conf["compression"].get("method"), f"{where}: method", **given)
    seconds = time.perf_counter() - started
    log.say(changed)
    source = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    result = {
        "changed": changed,
        "compression_seconds": seconds,
        "train_examples": len(train),
        **data_warnings.compute_truncation(train, "train"),
        "warnings": source.get("warnings", []),  # of the same rows
    }
    if after:
        result |= _recover(cfg, seed, model, after, train, log)
    loading.save(model, tokenizer, out)
    return result


def _recover(cfg: DictConfig, seed: int, model: Any, after: Recovery, train: Examples, log: Log) -> dict[str, Any]:
    """Continue training the compressed model in place with draws from ``seed``; return its cost and scores."""
    from omegaconf import OmegaConf

    from pipeline import origins
    from pipeline.data import batches, tasks
    from pipeline.evaluation import scores
    from pipeline.training import finetuning, matching, teacher
    from pipeline.training.recipe import Recipe

    conf: Any = OmegaConf.to_container(cfg)
    task, folder = tasks.parse(conf["task"]), origins.made(cfg.source, cfg.seed)
    data, rate = paths.data(task.name), after.rate * conf["recipe"]["learning_rate"]
    recipe = Recipe(**conf["recovery"], epochs=after.epochs, learning_rate=rate)
    selection = batches.read(data / "selection.parquet", 1.0, folder, task.max_length)
    loss = None
    if after.distillation:
        asked = (data / "train.parquet", cfg.ratio, task.max_length, after.distillation, 0, paths.CACHE)
        answers = teacher.asked(origins.made(cfg.origin, cfg.seed), *asked)
        loss = matching.Loss(after.distillation, answers, model, train, seed)
    judge = partial(scores.judge, metrics=task.metrics)
    with log.progress(recipe.updates(len(train))) as progress:
        return finetuning.finetune(
            model,
            train,
            selection,
            recipe,
            judge,
            task.score,
            seed,
            log.metrics,
            progress.update,
            loss,
            log.checkpoint(),
        )


if __name__ == "__main__":
    stage.run(compress)
