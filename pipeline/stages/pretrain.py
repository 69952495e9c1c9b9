"""pretrain: a model's pre-trained weights, fetched, copied or trained here, always in the same shape.

``python -m pipeline.stages.pretrain --multirun +sweep=once model=bert-mini`` writes ``models/bert-mini/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.execution import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.trial import TrialLog

IDENTITY = ("kind", "id", "revision")


def pretrain(cfg: DictConfig, out: Path, log: TrialLog) -> dict[str, Any]:
    """Fill ``out`` with the checkpoint of ``cfg.model`` and ``source.json``; return what it is and what it cost."""
    from omegaconf import OmegaConf

    from pipeline.core import instantiate
    from pipeline.data import batches
    from pipeline.models import checkpoint_sources, load_model
    from pipeline.training import padding

    conf: Any = OmegaConf.to_container(cfg.model)
    where = f"conf/model/{conf['name']}.yaml: source"
    origin = checkpoint_sources.fetch_checkpoint(
        conf["name"], cfg.mirror, out, lambda: instantiate.call_target(conf["source"], where, out=out, log=log)
    )
    weights = checkpoint_sources.read_weights(out)
    model, tokenizer, notes = load_model.load_pretrained(out, attention=None, arriving_as=where)
    padding.check_padding(model, tokenizer, batches.longest(out, padding.MAX_LENGTH), where)
    for remark in checkpoint_sources.list_remarks(notes.initialised, notes.unused):
        log.print_line(remark)
    paths.write_json(out / "source.json", {**{key: origin[key] for key in IDENTITY}, **weights})
    log.log_artifact(out / "source.json")
    details = {key: value for key, value in origin.items() if key not in IDENTITY}
    return {
        "source": origin["kind"],
        "parameters": weights["parameters"],
        "storage_bytes": weights["bytes"],
        "weights_sha256": weights["sha256"],
        **details,
    }


if __name__ == "__main__":
    entry.run_stage(pretrain)
