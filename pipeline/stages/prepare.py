"""prepare: a task's rows, checked and cut into train (in subset order), selection and report.

``python -m pipeline.stages.prepare --multirun +sweep=once task=mrpc`` writes ``data/mrpc/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.trial import TrialLog


def prepare(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Write the files of ``cfg.task`` into ``out`` and return their counts and the majority baseline."""
    from omegaconf import OmegaConf

    from pipeline.core import instantiate
    from pipeline.data import dataset_sources
    from pipeline.tasks import prepare_task, task_config

    conf: Any = OmegaConf.to_container(cfg.task)
    task = task_config.load_task(conf)
    where = f"conf/task/{task.name}.yaml: source"
    found = dataset_sources.find(task.name, cfg.mirror, lambda: instantiate.call_target(conf["source"], where))
    source = {"mirror": found.mirrored} if found.mirrored else conf["source"]
    summary = prepare_task.prepare(task, found.splits, source, out)
    for line in prepare_task.format_reading(summary):
        log.print_line(line)
    log.log_artifact(out / "summary.json")
    return prepare_task.result(summary)


if __name__ == "__main__":
    entry.run_stage(prepare)
