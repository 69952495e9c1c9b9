"""Brings any store level with the files: every cell of the plan once, nothing twice, the rest retired."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.tracking.mlflow import from_files, ownership, runs, store, views
from pipeline.tracking.mlflow.identity import Identity

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"


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

    One at a time: another waits for it. Raises UserError where the store does not answer.
    """
    from filelock import FileLock

    paths.CACHE.mkdir(exist_ok=True)
    with FileLock(paths.CACHE / "sync.lock"), store.answering(store.location()) as client, ownership.begun() as folder:
        runs.end_dead(client)
        counts = _level(client, list(cells), folder)
        views.publish(client)
        return counts


def _level(client: MlflowClient, cells: list[tuple[str, str]], folder: Path) -> Counts:
    counts = Counts()
    trials = runs.search(client, "tags.level = 'trial'")
    cell_runs = runs.cells(client)  # after their trials: each trial that was found has its parent here
    known, seeds = _known(cell_runs), _finished_seeds(trials)
    counts.retired += _retire(client, _orphans(trials, cell_runs), "its cell's run was deleted")
    for cell in cells:
        path = paths.get_metrics_path(*cell)
        earlier = known.pop(cell, [])
        if not path.exists():
            counts.waiting += 1
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        wanted = runs.digest(record), sorted(str(trial["seed"]) for trial in record["trials"])
        same = [run for run in earlier if (run.data.tags.get("record_sha256"), seeds[run.info.run_id]) == wanted]
        if same:
            counts.present += 1
            counts.retired += _retire(client, [run for run in earlier if run is not same[0]], "a second copy")
        else:
            counts.created += 1
            created = _create(client, record, path, folder)
            counts.retired += _retire(client, earlier, f"by {created}")
    for left in known.values():
        counts.retired += _retire(client, left, "left the plan")
    return counts


def _known(cell_runs: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """Return the active runs by cell, except those that still run: `runs.end_dead` has ended all others."""
    known: dict[tuple[str, str], list[Any]] = {}
    for run in cell_runs:
        if run.info.status != "RUNNING":
            known.setdefault((run.data.tags["stage"], run.data.tags["cell"]), []).append(run)
    return known


def _finished_seeds(trials: list[Any]) -> dict[str, list[str]]:
    """Return the sorted seeds of the finished trials of each parent run: somebody may have deleted some of them."""
    seeds: dict[str, list[str]] = defaultdict(list)
    for trial in sorted(trials, key=lambda run: str(run.data.tags["seed"])):
        if trial.info.status == "FINISHED":
            seeds[trial.data.tags[PARENT]].append(trial.data.tags["seed"])
    return seeds


def _orphans(trials: list[Any], cell_runs: list[Any]) -> list[Any]:
    """Return the trials whose parent run somebody deleted, except those that still run."""
    parents = {run.info.run_id for run in cell_runs}
    return [run for run in trials if run.data.tags[PARENT] not in parents and run.info.status != "RUNNING"]


def _retire(client: MlflowClient, earlier: list[Any], why: str) -> int:
    for run in earlier:
        runs.retire(client, run, why)
    return len(earlier)


def _create(client: MlflowClient, record: dict[str, Any], path: Path, folder: Path) -> str:
    """Create the runs of one cell as its trials would have."""
    identity = Identity.from_record(record)
    ends = [end := path.stat().st_mtime]
    for trial in reversed(record["trials"]):  # one after another, up to when the record was written
        ends.append(ends[-1] - float(trial.get("trial_seconds") or 0.0))
    first = from_files.in_ms(ends[-1])
    parent = runs.create_run(client, identity, folder, name=identity.cell, start=first, origin="files")
    for trial, ended in zip(record["trials"], reversed(ends[:-1]), strict=True):
        kept = paths.get_trial_dir(identity.stage, identity.cell, trial["seed"])
        from_files.tell_trial(client, identity, folder, trial, parent, kept, ended)
    runs.complete(client, parent, record, [path, *_attachments(record)], end=from_files.in_ms(end))
    return parent


def _attachments(record: dict[str, Any]) -> list[Path]:
    return [path for path in (paths.ROOT / name for name in record.get("artifacts", ())) if path.exists()]
