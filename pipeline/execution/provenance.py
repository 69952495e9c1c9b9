"""Inputs of a trial: its source cell, data, model and settings, and the digest of all of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.core import checksums, paths, records
from pipeline.core.errors import UserError, suggest
from pipeline.plan import source_digests
from pipeline.plan.source_paths import STAGES

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.tracking import Identity

INHERITED = ("task", "model", "ratio", "recipe", "distillation", "teacher", "compression", "origin")
GROUPS = ("task", "model", "recipe", "distillation", "compression")  # of conf/, of which a trial names a file
NO_INPUT = ("seed", "exploration", "checkpoint_seconds")  # settings that do not change a cell's numbers
PLAIN = ("ratio", "source", "teacher")  # coordinates of a cell that name no file of conf/
FORCE = "-s -f "  # options of `dvc repro`: only this cell, even if DVC considers it up to date


def merge_source_config(cfg: DictConfig) -> DictConfig:
    """Add the task, model, ratio and other coordinates of its source to the config of a trial.

    ``origin`` is the first cell of a chain of compressions. Raises UserError where the source does not exist yet, or is
    no ``<stage>/<cell>``.
    """
    if "source" not in cfg:
        return cfg
    from omegaconf import OmegaConf

    from pipeline import plan

    config = plan.read(find_source_dir(cfg.source, cfg.seed) / "config.yaml")
    inherited: dict[Any, Any] = {key: config[key] for key in INHERITED if key in config and key not in cfg}
    merged = OmegaConf.merge({"origin": cfg.source, **inherited}, cfg)
    return cast("DictConfig", merged)


def find_source_dir(source: str, seed: int) -> Path:
    """Return the folder of the trial that is the source or the teacher of another trial.

    Raises UserError where it does not exist yet or is damaged, or where ``source`` is no ``<stage>/<cell>``.
    """
    from pipeline import plan

    stage, _, name = source.removeprefix("exploration/").partition("/")
    if stage not in plan.TRAINED or not name or "/" in name:
        raise UserError(
            f"got {source!r}; give <stage>/<cell>, the stage one of {', '.join(plan.TRAINED)}; "
            "exploration/<stage>/<cell> is one outside the plan"
        )
    folder = paths.get_source_dir(source, seed)
    if not folder.exists():
        raise UserError(f"{folder.relative_to(paths.ROOT)}: not made yet; {_format_remedy(source, stage, name)}")
    checksums.verify_checksums(folder, lambda: _format_remedy(source, stage, name, FORCE))
    return folder


def _format_remedy(source: str, stage: str, name: str, how: str = "") -> str:
    """Return the advice that creates the trial of a source."""
    from pipeline import plan

    if source.startswith("exploration/"):
        return f"run {stage} with this seed {'again' if how else 'first'}"
    cells = {f"{cell.stage}/{cell.name}": cell for cell in plan.load().trained()}
    if source in cells:
        seeds = "" if how else "; a seed must be one of the plan's"
        return f"run `dvc repro {how}{cells[source].address}`{seeds}"
    return f"the plan has no such cell; {suggest(source, cells)}"


def make_identity(stage: str, cfg: DictConfig) -> Identity:
    """Return the name, coordinates and inputs of a trial, and a digest of them.

    Raises UserError where an input does not exist yet or is damaged.
    """
    from omegaconf import OmegaConf

    from pipeline.tracking import Identity, Input

    inputs, tags = [], {"git_commit": get_commit()}
    if "task" in cfg and stage != "prepare":
        inputs.append(Input("data", _compute_digest(paths.get_data_dir(cfg.task.name) / "summary.json"), cfg.task.name))
    if "model" in cfg and stage != "pretrain":
        origin = paths.get_model_dir(cfg.model.name) / "source.json"
        inputs.append(Input("model", _compute_digest(origin), cfg.model.name))
        tags["model_source"] = _format_model_source(origin)
    resolved = OmegaConf.to_container(cfg)
    assert isinstance(resolved, dict)
    settings = {key: value for key, value in resolved.items() if key not in NO_INPUT}
    named = {key: resolved[key]["name"] for key in GROUPS if key in resolved}
    plain = {key: resolved[key] for key in PLAIN if key in resolved}
    if stage == "benchmark":
        plain |= {key: resolved[key] for key in ("processes", "threads", "precision", "batch")}
    made_of = {key: _read_source_record(resolved[key]) for key in records.SOURCE_TAGS if key in resolved}
    for key, record in list(made_of.items())[:1]:  # a student's teacher went into the student alone
        tags[records.SOURCE_TAGS[key]] = record[records.DIGEST_KEY]
    input_digests = [item.digest for item in inputs] + [record["tags"]["inputs_sha256"] for record in made_of.values()]
    # Files outside the project: a cached trial is valid only while they are the same.
    input_digests += [
        source_digests.describe(group, resolved[group]["name"], resolved[group]["source"], resolved["mirror"])
        for group, reader in STAGES.items()
        if reader == stage
    ]
    content = json.dumps([stage, settings, input_digests], sort_keys=True)
    return Identity(
        stage=stage,
        cell=cfg.cell,
        exploration=cfg.exploration,
        params={**named, **plain},
        tags={**tags, "inputs_sha256": hashlib.sha256(content.encode()).hexdigest()},
        inputs=inputs,
    )


def _compute_digest(path: Path) -> str:
    """Return the SHA-256 of a file of an earlier stage; verify its folder first."""
    kind, name = path.parent.relative_to(paths.ROOT).parts
    if not path.parent.exists():
        raise UserError(f"{kind}/{name}: not made yet; {_format_command(kind, name)}")
    checksums.verify_checksums(path.parent, lambda: _format_command(kind, name, FORCE))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _format_command(kind: str, name: str, how: str = "") -> str:
    """Return the advice that creates ``data/<name>`` or ``models/<name>``, also outside the plan."""
    from pipeline import plan

    stage, axis = {"data": ("prepare", "task"), "models": ("pretrain", "model")}[kind]
    if name in getattr(plan.load(), f"{axis}s"):
        return f"run `dvc repro {how}{stage}@{name}`"
    return f"run `python -m pipeline.stages.{stage} --multirun +sweep=once {axis}={name}`"


def _read_source_record(source: str) -> dict[str, Any]:
    """Return the record of a source, whose digest covers its inputs: two recipes on the same data and model differ."""
    path = paths.get_record_path(source)
    if not path.exists():
        raise UserError(f"{path.relative_to(paths.ROOT)}: not made yet; every seed of {source} writes it at its end")
    return records.read_record(path)


def _format_model_source(origin: Path) -> str:
    """Return where a model's weights come from, such as ``hub: google/bert_uncased_L-4_H-256_A-4 at 1a2b3c``."""
    source = json.loads(origin.read_text(encoding="utf-8"))
    revision = f" at {source['revision']}" if source["revision"] else ""
    return f"{source['kind']}: {source['id']}{revision}"


@cache
def get_commit() -> str:
    """Return the git commit at the first call in this process; ``none`` outside git."""
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "none"
