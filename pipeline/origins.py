"""What a trial is made of: the cell that is its source, and the data, model and settings that went in."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline import paths
from pipeline.errors import UserError, near

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.tracking import Identity

INHERITED = ("task", "model", "ratio", "recipe", "distillation", "teacher", "compression", "origin")
GROUPS = ("task", "model", "recipe", "distillation", "compression")  # of conf/, of which a trial names a file
PLAIN = ("ratio", "source", "teacher")  # coordinates of a cell that are no files


def inherit(cfg: DictConfig) -> DictConfig:
    """Return the config of a trial that has a source with what that was made of: task, model, ratio and the rest.

    ``origin`` is what stands at the start of a chain of compressions. Raises UserError where the source has not been
    made yet, or is no ``<stage>/<cell>``.
    """
    from omegaconf import OmegaConf

    if "source" not in cfg:
        return cfg
    known: Any = OmegaConf.load(made(cfg.source, cfg.seed) / "config.yaml")
    taken: dict[Any, Any] = {key: known[key] for key in INHERITED if key in known and key not in cfg}
    merged = OmegaConf.merge({"origin": cfg.source, **taken}, cfg)
    return cast("DictConfig", merged)


def made(source: str, seed: int) -> Path:
    """Return the folder of the trial that is another's source, or its teacher.

    Raises UserError where it has not been made yet, or where ``source`` is no ``<stage>/<cell>``.
    """
    from pipeline import plan

    stage, _, name = source.removeprefix("exploration/").partition("/")
    if stage not in plan.TRAINED or not name or "/" in name:
        raise UserError(
            f"got {source!r}; give <stage>/<cell>, the stage one of {', '.join(plan.TRAINED)}; "
            "exploration/<stage>/<cell> is one outside the plan"
        )
    folder = paths.made(source, seed)
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder.relative_to(paths.ROOT)}: not made yet; {_remedy(source, stage, name)}")
    return folder


def _remedy(source: str, stage: str, name: str) -> str:
    from pipeline import plan

    if source.startswith("exploration/"):
        return f"run {stage} with this seed first"
    cells = {f"{cell.stage}/{cell.name}": cell for cell in plan.load().trained()}
    if source in cells:
        return f"run `dvc repro {cells[source].address}`; a seed must be one of the plan's"
    return f"the plan has no such cell; {near(source, cells)}"


def identify(stage: str, cfg: DictConfig) -> Identity:
    """Return what a trial is called, what it is made of, and what went in.

    Raises UserError where an input has not been made yet.
    """
    from omegaconf import OmegaConf

    from pipeline.tracking import Identity, Input

    inputs, tags = [], {"git_commit": commit()}
    if "task" in cfg and stage != "prepare":
        inputs.append(Input("data", _digest(paths.data(cfg.task.name) / "summary.json"), cfg.task.name))
    if "model" in cfg and stage != "pretrain":
        origin = paths.model(cfg.model.name) / "source.json"
        inputs.append(Input("model", _digest(origin), cfg.model.name))
        tags["model_source"] = _source(origin)
    resolved = OmegaConf.to_container(cfg)
    assert isinstance(resolved, dict)
    settings = {key: value for key, value in resolved.items() if key not in ("seed", "exploration")}
    named = {key: resolved[key]["name"] for key in GROUPS if key in resolved}
    plain = {key: resolved[key] for key in PLAIN if key in resolved}
    if stage == "benchmark":
        plain |= {key: resolved[key] for key in ("processes", "threads", "precision", "batch")}
    digests = [item.digest for item in inputs]
    digests += [_went_into(resolved[key]) for key in ("source", "teacher") if key in resolved]
    went_in = json.dumps([stage, settings, digests], sort_keys=True)
    return Identity(
        stage=stage,
        cell=cfg.cell,
        exploration=cfg.exploration,
        params={**named, **plain},
        tags={**tags, "inputs_sha256": hashlib.sha256(went_in.encode()).hexdigest()},
        inputs=inputs,
    )


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file that an earlier stage made."""
    if not path.exists():
        folder = path.parent.relative_to(paths.ROOT)
        raise UserError(f"{folder}: not made yet; run `{_maker(*folder.parts)}`")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _maker(folder: str, name: str) -> str:
    """Return the command that makes ``data/<name>`` or ``models/<name>``: DVC knows only the cells of the plan."""
    from pipeline import plan

    stage, axis = {"data": ("prepare", "task"), "models": ("pretrain", "model")}[folder]
    if name in getattr(plan.load(), f"{axis}s"):
        return f"dvc repro {stage}@{name}"
    return f"python -m pipeline.stages.{stage} --multirun +sweep=once {axis}={name}"


def _went_into(source: str) -> str:
    """Return the hash of what went into a cell: two recipes on the same data and model differ in it."""
    path = paths.record(source)
    if not path.exists():
        raise UserError(f"{path.relative_to(paths.ROOT)}: not made yet; every seed of {source} writes it at its end")
    return str(json.loads(path.read_text(encoding="utf-8"))["tags"]["inputs_sha256"])


def _source(origin: Path) -> str:
    """Return where a model's weights came from, such as ``hub: google/bert_uncased_L-4_H-256_A-4 at 1a2b3c``."""
    known = json.loads(origin.read_text(encoding="utf-8"))
    revision = f" at {known['revision']}" if known["revision"] else ""
    return f"{known['kind']}: {known['id']}{revision}"


def commit() -> str:
    """Return the commit of the working tree, or ``none`` outside git."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"
