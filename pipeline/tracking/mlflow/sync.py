"""Synchronise a store with the files: each cell of the plan has one run, all other runs are retired."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.tracking import trial_files
from pipeline.tracking.base import SyncCounts
from pipeline.tracking.identity import Identity
from pipeline.tracking.mlflow import ownership, runs, store, views
from pipeline.tracking.mlflow.runs import to_ms

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def sync(cells: Iterable[tuple[str, str]]) -> SyncCounts:
    """Make the store contain exactly the given cells (stage, name), from their files.

    Only one process synchronises at a time. Raises UserError if the store is unreachable.
    """
    from filelock import FileLock

    paths.CACHE.mkdir(exist_ok=True)
    with (
        FileLock(paths.CACHE / "sync.lock"),
        store.open_client(store.get_uri()) as client,
        ownership.create_sweep() as sweep,
    ):
        runs.end_killed_runs(client)
        counts = _sync_cells(client, list(cells), sweep)
        views.write_views(client)
        return counts


def _sync_cells(client: MlflowClient, cells: list[tuple[str, str]], sweep: Path) -> SyncCounts:
    counts = SyncCounts()
    trials = runs.find_runs(client, "tags.level = 'trial'")
    cell_runs = runs.find_cell_runs(client)  # after the trials, so that it contains the parent of each
    runs_by_cell, seeds = _group_by_cell(cell_runs), _get_finished_seeds(trials)
    counts.retired += _retire_runs(client, _find_orphans(trials, cell_runs), "its cell's run was deleted")
    for cell in cells:
        path = paths.get_metrics_path(*cell)
        earlier = runs_by_cell.pop(cell, [])
        if not path.exists():
            counts.waiting += 1
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        state = runs.compute_digest(record), sorted(str(trial["seed"]) for trial in record["trials"])
        current = [run for run in earlier if (run.data.tags.get("record_sha256"), seeds[run.info.run_id]) == state]
        if current:
            counts.present += 1
            counts.retired += _retire_runs(client, [run for run in earlier if run is not current[0]], "a second copy")
        else:
            counts.created += 1
            created = _log_cell(client, record, path, sweep)
            counts.retired += _retire_runs(client, earlier, f"by {created}")
    for left in runs_by_cell.values():
        counts.retired += _retire_runs(client, left, "left the plan")
    return counts


def _group_by_cell(cell_runs: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """Return the runs by cell, without the running ones, which belong to running processes."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for run in cell_runs:
        if run.info.status != "RUNNING":
            groups[run.data.tags["stage"], run.data.tags["cell"]].append(run)
    return groups


def _get_finished_seeds(trials: list[Any]) -> dict[str, list[str]]:
    """Return the sorted seeds of the finished trials of each parent run: a user may have deleted some of them."""
    seeds: dict[str, list[str]] = defaultdict(list)
    for trial in sorted(trials, key=lambda run: str(run.data.tags["seed"])):
        if trial.info.status == "FINISHED":
            seeds[trial.data.tags[runs.PARENT]].append(trial.data.tags["seed"])
    return seeds


def _find_orphans(trials: list[Any], cell_runs: list[Any]) -> list[Any]:
    """Return the trials whose parent run was deleted, without those that still run."""
    parents = {run.info.run_id for run in cell_runs}
    return [run for run in trials if run.data.tags[runs.PARENT] not in parents and run.info.status != "RUNNING"]


def _retire_runs(client: MlflowClient, earlier: list[Any], reason: str) -> int:
    for run in earlier:
        runs.retire_run(client, run, reason)
    return len(earlier)


def _log_cell(client: MlflowClient, record: dict[str, Any], path: Path, sweep: Path) -> str:
    """Log a cell and its trials from their files; return the id of the parent run."""
    identity = Identity.from_record(record)
    ends = [end := path.stat().st_mtime]
    for trial in reversed(record["trials"]):  # one after another, until the record was written
        ends.append(ends[-1] - float(trial.get("trial_seconds") or 0.0))
    start = to_ms(ends[-1])
    parent = runs.create_run(client, identity, sweep, name=identity.cell, start=start, origin="files")
    for trial, trial_end in zip(record["trials"], reversed(ends[:-1]), strict=True):
        _log_trial(client, identity, sweep, trial, parent, trial_end)
    runs.complete_cell(client, parent, record, [path, *_list_artifacts(record)], end=to_ms(end))
    return parent


def _log_trial(
    client: MlflowClient, identity: Identity, sweep: Path, result: dict[str, Any], parent: str, end: float
) -> None:
    """Log a trial with the calls of ``LiveTrial``; ``end`` is in seconds since the epoch."""
    seed, start = result["seed"], to_ms(end - float(result.get("trial_seconds") or 0.0))
    folder = paths.get_trial_dir(identity.stage, identity.cell, seed)
    reader = trial_files.MetricReader(folder)
    run = runs.create_trial_run(client, identity, sweep, seed, parent, start)
    runs.log_batch(client, run, runs.to_metrics(reader.read_new(end)))
    artifacts = trial_files.list_artifacts(identity, seed, folder)
    runs.finish_trial(client, run, result, reader.last_steps, artifacts, end)


def _list_artifacts(record: dict[str, Any]) -> list[Path]:
    return [path for path in (paths.ROOT / name for name in record.get("artifacts", ())) if path.exists()]
