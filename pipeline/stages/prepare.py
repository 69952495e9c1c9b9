"""prepare: a task's rows, checked and cut into train (in subset order), selection and report.

``python -m pipeline.stages.prepare --multirun +sweep=once task=mrpc`` writes ``data/mrpc/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import stage

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.trial import Log


def prepare(cfg: DictConfig, out: Path, log: Log) -> dict[str, Any]:
    """Write the files of ``cfg.task`` into ``out`` and return their counts and the majority baseline."""
    from omegaconf import OmegaConf

    from pipeline import target
    from pipeline.data import preparing, sources, tasks

    conf: Any = OmegaConf.to_container(cfg.task)
    task = tasks.parse(conf)
    where = f"conf/task/{task.name}.yaml: source"
    found = sources.find(task.name, cfg.mirror, lambda: target.call(conf["source"], where))
    source = {"mirror": found.mirrored} if found.mirrored else conf["source"]
    summary = preparing.prepare(task, found.splits, source, out)
    for line in preparing.format_reading(summary):
        log.say(line)
    log.artifact(out / "summary.json")
    return preparing.result(summary)


if __name__ == "__main__":
    stage.run(prepare)
