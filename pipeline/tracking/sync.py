"""Brings any store level with the files: every cell of the plan once, nothing twice, the rest retired."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.tracking import runs, store, views
from pipeline.tracking.identity import Identity

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient


@dataclass
class Counts:
    """What a synchronisation did, in cells."""

    created: int = 0
    present: int = 0
    waiting: int = 0
    retired: int = 0

    def __str__(self) -> str:
        return (
            f"{self.created} cells created, {self.present} already there, {self.waiting} not run yet, "
            f"{self.retired} older runs marked superseded"
        )


def sync(cells: Iterable[tuple[str, str]]) -> Counts:
    """Make the store at the usual URI hold exactly the given cells (stage, name), from their files.

    Raises UserError where the store does not answer.
    """
    with store.answering(store.location()) as client:
        counts = _level(client, list(cells))
        views.publish(client)
        return counts


def _level(client: MlflowClient, cells: list[tuple[str, str]]) -> Counts:
    counts = Counts()
    known = _known(client)
    for cell in cells:
        path = paths.metrics(*cell)
        earlier = [run for run in known.pop(cell, []) if not _at_work(run, path)]
        if not path.exists():
            counts.waiting += 1
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        same = [run for run in earlier if run.data.tags.get("record_sha256") == runs.digest(record)]
        if same:
            counts.present += 1
            counts.retired += _retire(client, [run for run in earlier if run is not same[0]], "a second copy")
        else:
            counts.created += 1
            created = _create(client, record, path)
            counts.retired += _retire(client, earlier, f"by {created}")
    for cell, left in known.items():
        idle = [run for run in left if not _at_work(run, paths.metrics(*cell))]
        counts.retired += _retire(client, idle, "left the plan")
    return counts


def _at_work(run: Any, path: Path) -> bool:
    """Say whether a run's trials may still be working: it is running and its cell's numbers are not written yet.

    A run that was cut off, by the store or with its process, says that it is running for ever; a run from files that
    says so was cut short.
    """
    if run.info.status != "RUNNING" or "origin" in run.data.tags:
        return False
    return not path.exists() or path.stat().st_mtime * 1000 < run.info.start_time


def _known(client: MlflowClient) -> dict[tuple[str, str], list[Any]]:
    """Return the active runs of each cell."""
    known: dict[tuple[str, str], list[Any]] = {}
    for run in runs.cells(client):
        known.setdefault((run.data.tags["stage"], run.data.tags["cell"]), []).append(run)
    return known


def _retire(client: MlflowClient, earlier: list[Any], why: str) -> int:
    for run in earlier:
        runs.retire(client, run.info.run_id, why)
    return len(earlier)


def _create(client: MlflowClient, record: dict[str, Any], path: Path) -> str:
    """Create the runs of one cell as its trials would have."""
    identity = Identity.from_record(record)
    end = path.stat().st_mtime
    seconds = [float(trial.get("trial_seconds") or 0.0) for trial in record["trials"]]
    starts = [end - sum(seconds[number:]) for number in range(len(seconds))]
    first = _ms(min(starts, default=end))
    parent = runs.create_run(client, identity, name=identity.cell, start=first, origin="files")
    for trial, start, duration in zip(record["trials"], starts, seconds, strict=True):
        run = runs.create_trial(client, identity, trial["seed"], parent, start=_ms(start))
        folder = paths.trial(identity.stage, identity.cell, trial["seed"])
        runs.send(client, run, _points(folder, trial, start + duration))
        runs.finish_trial(client, run, trial, _files(folder), end=_ms(start + duration))
    runs.complete(client, parent, record, [path, *_attachments(record)], end=_ms(end))
    return parent


def _points(folder: Path, trial: dict[str, Any], when: float) -> list[Metric]:
    """Return a trial's curves and, at their last step, its final numbers; and what it did to the machine."""
    rows = _lines(folder / "curves.jsonl")
    points: list[Metric] = []
    last_steps: dict[str, int] = {}
    for row in rows:
        step = row.pop("step")
        points += runs.as_metrics(step, row, when)
        last_steps |= dict.fromkeys(row, step)
    for row in _lines(folder / "resources.jsonl"):
        points += runs.as_metrics(row.pop("step"), row, row.pop("time"))
    return points + runs.finals(trial, last_steps, when)


def _lines(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def _files(folder: Path) -> list[Path]:
    """Return what the trial showed while it ran, as far as it is still there."""
    trial = folder / "trial.json"
    shown = json.loads(trial.read_text(encoding="utf-8")).get("artifacts", []) if trial.exists() else []
    found = [*(paths.ROOT / name for name in shown), folder / "config.yaml", trial]
    return [path for path in found if path.exists()]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _attachments(record: dict[str, Any]) -> list[Path]:
    return [path for path in (paths.ROOT / name for name in record.get("artifacts", ())) if path.exists()]
