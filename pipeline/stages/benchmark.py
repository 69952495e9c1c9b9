"""benchmark: cost of training and inference of a model as a task's classifier, by processes and threads.

``python -m pipeline.stages.benchmark --multirun +sweep=once task=mrpc model=bert-mini processes=2 threads=1
precision=auto batch=32`` writes ``metrics/benchmark/bert-mini-2-1-auto-32.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.trial import TrialLog


def benchmark(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Return the measurements; no other trial of the laboratory runs on these cores meanwhile."""
    from dataclasses import replace

    import torch
    from omegaconf import OmegaConf

    from pipeline.data import batches
    from pipeline.evaluation import benchmark as timed
    from pipeline.evaluation import benchmark_settings
    from pipeline.evaluation.cost import memory
    from pipeline.models import load_model
    from pipeline.system import distributed, hardware, machine_lock
    from pipeline.tasks import task_config

    conf: Any = OmegaConf.to_container(cfg)
    settings, task, device = (
        benchmark_settings.load_settings(conf),
        task_config.load_task(conf["task"]),
        hardware.get_device(),
    )
    settings = settings.model_copy(update={"precision": hardware.resolve_precision(settings.precision, device)})
    emulated = hardware.is_emulated(settings.precision, device)
    group, threads = distributed.get_group(), torch.get_num_threads()
    data, pretrained = paths.get_data_dir(cfg.task.name), paths.get_model_dir(cfg.model.name)
    if group.size * threads > hardware.count_cores():
        log.print_line(f"{group.size} x {threads} threads take turns on {hardware.count_cores()} cores")
    if emulated:
        log.print_line(
            f"{settings.precision} is emulated: this {device.type} has no instructions for it; give precision=auto"
        )
    hardware.make_deterministic(cfg.seed)
    start = pretrained, len(task.labels or ()), cfg.seed, task.regression
    trained, inference_model = (
        load_model.load_pretrained(*start).model,
        load_model.load_pretrained(*start, attention=None).model,
    )
    train, report = (
        batches.read(data / f"{split}.parquet", 1.0, pretrained, task.max_length) for split in ("train", "report")
    )
    result: dict[str, Any] = {
        "processes": group.size,
        "threads": threads,
        "precision": settings.precision,
        "precision_emulated": emulated,
        "batch_size": settings.batch,
        "device": device.type,
    }
    with machine_lock.lock_for_measurement(log.print_line):
        result |= timed.benchmark(trained, inference_model, train, report, settings, group)
    if group.size == 1:
        request = memory.Request(
            shape=cfg.model.name, precision=settings.precision, threads=threads, labels=trained.config.num_labels,
            folder=str(pretrained), **memory.longest(train, cfg.batch),
        )  # fmt: skip
        result |= memory.apart(request) | memory.apart(replace(request, training=True))
    return result


if __name__ == "__main__":
    entry.run_stage(benchmark)
