"""A trial as its files tell it: for one that the store has not heard of while it ran."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.tracking.mlflow import runs
from pipeline.tracking.mlflow.identity import Identity

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient


def tell_trial(
    client: MlflowClient, identity: Identity, work: Path, trial: dict[str, Any], parent: str, folder: Path, end: float
) -> None:
    """Create the run of one seed under ``parent`` as the trial would have, which kept its files in ``folder``.

    ``trial`` holds its numbers, and it ended at ``end``, in seconds since the epoch.
    """
    seconds = float(trial.get("trial_seconds") or 0.0)
    run = runs.create_trial(client, identity, work, trial["seed"], parent, start=in_ms(end - seconds))
    runs.send(client, run, _points(folder, trial, end))
    runs.finish_trial(client, run, trial, _shown(identity, trial["seed"], folder), end=in_ms(end))


def rows(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, without a last one that a killed process has not ended."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def in_ms(seconds: float) -> int:
    """Return MLflow's form of a time."""
    return int(seconds * 1000)


def _points(folder: Path, trial: dict[str, Any], when: float) -> list[Metric]:
    """Return a trial's curves and, at their last step, its final numbers; and what it did to the machine."""
    points: list[Metric] = []
    last_steps: dict[str, int] = {}
    for row in rows(folder / "curves.jsonl"):
        step = row.pop("step")
        points += runs.as_metrics(step, row, when)
        last_steps |= dict.fromkeys(row, step)
    for row in rows(folder / "resources.jsonl"):
        points += runs.as_metrics(row.pop("step"), row, row.pop("time"))
    return points + runs.finals(trial, last_steps, when)


def _shown(identity: Identity, seed: int, folder: Path) -> list[Path]:
    """Return what the trial showed while it ran, as far as it is still there: in ``folder``, or where it belongs."""
    trial = folder / "trial.json"
    shown = json.loads(trial.read_text(encoding="utf-8")).get("artifacts", []) if trial.exists() else []
    home = paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration)
    found = []
    for path in (paths.ROOT / name for name in shown):
        with suppress(ValueError):  # it lies in another folder, such as a model's
            path = folder / path.relative_to(home)
        found.append(path)
    return [path for path in [*found, folder / "config.yaml", trial] if path.exists()]
