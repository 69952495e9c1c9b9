"""Cells and trials logged as the stages log them, each call waiting for the store's thread."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.core import paths
from pipeline.tracking import Identity, get_tracker
from pipeline.tracking.mlflow import store
from pipeline.tracking.mlflow.tracker import LiveTrial

_locks: list[FileLock] = []


def open_cell(identity: Identity) -> str:
    """Open a cell in a new sweep, as its first trial does; this process holds the lock of the sweep."""
    paths.CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
    _locks.append(FileLock(f"{folder}.lock"))
    _locks[-1].acquire()
    get_tracker().open_sweep(folder)
    return get_tracker().open_cell(identity, folder)


def open_trial(identity: Identity, seed: int, cell: str) -> LiveTrial:
    """Open a trial whose files are in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="records-", dir=Path(cell).parent))
    trial = get_tracker().open_trial(identity, seed, cell, folder)
    assert isinstance(trial, LiveTrial)
    return trial


def log_metrics(trial: LiveTrial, step: int, values: dict[str, float]) -> None:
    """Append a row to the curves of a trial, as a stage does."""
    with (trial.folder / "curves.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


def close_cell(cell: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
    """Close a cell, and wait for the store."""
    get_tracker().close_cell(cell, record, artifacts)
    get_tracker().flush()


def fail_cell(cell: str | None) -> None:
    """End a cell without a result, and wait for the store."""
    get_tracker().fail_cell(cell)
    get_tracker().flush()


def open_run(identity: Identity) -> str:
    """Open a cell and return the id of its run."""
    return get_run_id(open_cell(identity))


def release_sweeps() -> None:
    """Release the locks of all sweeps of this process, as the kernel does when a process ends."""
    while _locks:
        _locks.pop().release()


def get_run_id(cell: str) -> str:
    """Return the id of the run of a cell."""
    store.get_store().flush()
    return Path(cell).read_text()


def get_trial_run_id(trial: LiveTrial) -> str:
    """Return the id of a trial's run."""
    assert trial.run is not None
    store.get_store().flush()
    run = trial.run.result()
    assert run is not None
    return run
