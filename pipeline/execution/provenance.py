"""What a trial is made of: the cell that is its source, and the data, model and settings that went in."""

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
NO_INPUT = ("seed", "exploration", "checkpoint_seconds")  # settings that decide nothing about a cell's numbers
PLAIN = ("ratio", "source", "teacher")  # coordinates of a cell that are no files
AGAIN = "-s -f "  # of `dvc repro`: this cell alone, also where DVC takes it for whole


def merge_source_config(cfg: DictConfig) -> DictConfig:
    """Return the config of a trial that has a source with what that was made of: task, model, ratio and the rest.

    ``origin`` is what stands at the start of a chain of compressions. Raises UserError where the source has not been
    made yet, or is no ``<stage>/<cell>``.
    """
    if "source" not in cfg:
        return cfg
    from omegaconf import OmegaConf

    from pipeline import plan

    known = plan.read(find_source_dir(cfg.source, cfg.seed) / "config.yaml")
    taken: dict[Any, Any] = {key: known[key] for key in INHERITED if key in known and key not in cfg}
    merged = OmegaConf.merge({"origin": cfg.source, **taken}, cfg)
    return cast("DictConfig", merged)


def find_source_dir(source: str, seed: int) -> Path:
    """Return the folder of the trial that is another's source, or its teacher.

    Raises UserError where it has not been made yet or is not whole, or where ``source`` is no ``<stage>/<cell>``.
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
        raise UserError(f"{folder.relative_to(paths.ROOT)}: not made yet; {_remedy(source, stage, name)}")
    checksums.verify_checksums(folder, lambda: _remedy(source, stage, name, AGAIN))
    return folder


def _remedy(source: str, stage: str, name: str, how: str = "") -> str:
    """Say what makes a trial that others start from."""
    from pipeline import plan

    if source.startswith("exploration/"):
        return f"run {stage} with this seed {'again' if how else 'first'}"
    cells = {f"{cell.stage}/{cell.name}": cell for cell in plan.load().trained()}
    if source in cells:
        seeds = "" if how else "; a seed must be one of the plan's"
        return f"run `dvc repro {how}{cells[source].address}`{seeds}"
    return f"the plan has no such cell; {suggest(source, cells)}"


def make_identity(stage: str, cfg: DictConfig) -> Identity:
    """Return what a trial is called, what it is made of, and what went in.

    Raises UserError where an input has not been made yet, or is not whole.
    """
    from omegaconf import OmegaConf

    from pipeline.tracking import Identity, Input

    inputs, tags = [], {"git_commit": get_commit()}
    if "task" in cfg and stage != "prepare":
        inputs.append(Input("data", _digest(paths.get_data_dir(cfg.task.name) / "summary.json"), cfg.task.name))
    if "model" in cfg and stage != "pretrain":
        origin = paths.get_model_dir(cfg.model.name) / "source.json"
        inputs.append(Input("model", _digest(origin), cfg.model.name))
        tags["model_source"] = _source(origin)
    resolved = OmegaConf.to_container(cfg)
    assert isinstance(resolved, dict)
    settings = {key: value for key, value in resolved.items() if key not in NO_INPUT}
    named = {key: resolved[key]["name"] for key in GROUPS if key in resolved}
    plain = {key: resolved[key] for key in PLAIN if key in resolved}
    if stage == "benchmark":
        plain |= {key: resolved[key] for key in ("processes", "threads", "precision", "batch")}
    made_of = {key: _record(resolved[key]) for key in records.SOURCE_TAGS if key in resolved}
    for key, record in list(made_of.items())[:1]:  # a student's teacher went into the student alone
        tags[records.SOURCE_TAGS[key]] = record[records.DIGEST_KEY]
    went_into = [item.digest for item in inputs] + [record["tags"]["inputs_sha256"] for record in made_of.values()]
    # Files outside the project: a trial that was kept counts only while they are the same.
    went_into += [
        source_digests.describe(group, resolved[group]["name"], resolved[group]["source"], resolved["mirror"])
        for group, reader in STAGES.items()
        if reader == stage
    ]
    went_in = json.dumps([stage, settings, went_into], sort_keys=True)
    return Identity(
        stage=stage,
        cell=cfg.cell,
        exploration=cfg.exploration,
        params={**named, **plain},
        tags={**tags, "inputs_sha256": hashlib.sha256(went_in.encode()).hexdigest()},
        inputs=inputs,
    )


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file that an earlier stage made, once its folder was found whole."""
    kind, name = path.parent.relative_to(paths.ROOT).parts
    if not path.parent.exists():
        raise UserError(f"{kind}/{name}: not made yet; {_maker(kind, name)}")
    checksums.verify_checksums(path.parent, lambda: _maker(kind, name, AGAIN))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _maker(kind: str, name: str, how: str = "") -> str:
    """Say what makes ``data/<name>`` or ``models/<name>``: DVC knows only the cells of the plan."""
    from pipeline import plan

    stage, axis = {"data": ("prepare", "task"), "models": ("pretrain", "model")}[kind]
    if name in getattr(plan.load(), f"{axis}s"):
        return f"run `dvc repro {how}{stage}@{name}`"
    return f"run `python -m pipeline.stages.{stage} --multirun +sweep=once {axis}={name}`"


def _record(source: str) -> dict[str, Any]:
    """Return the record of a cell, which tells what went into it: two recipes on the same data and model differ."""
    path = paths.get_record_path(source)
    if not path.exists():
        raise UserError(f"{path.relative_to(paths.ROOT)}: not made yet; every seed of {source} writes it at its end")
    return records.read_record(path)


def _source(origin: Path) -> str:
    """Return where a model's weights came from, such as ``hub: google/bert_uncased_L-4_H-256_A-4 at 1a2b3c``."""
    known = json.loads(origin.read_text(encoding="utf-8"))
    revision = f" at {known['revision']}" if known["revision"] else ""
    return f"{known['kind']}: {known['id']}{revision}"


@cache
def get_commit() -> str:
    """Return the commit of the working tree when this process asked first, or ``none`` outside git."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"
