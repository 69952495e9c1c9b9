"""What a test asks of the store about what was told to it by the thread that no trial waits for."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.core import paths
from pipeline.tracking import Identity, Trial, close_here
from pipeline.tracking.mlflow import live, store

_locks: list[FileLock] = []


def open_cell(identity: Identity) -> str:
    """Open a cell as the first trial of a sweep of its own does; its process is this one and lives on."""
    paths.CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
    _locks.append(FileLock(f"{folder}.lock"))
    _locks[-1].acquire()
    close_here(folder)
    return live.open_cell(identity, folder)


def close_cell(run: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
    """Close a cell, and wait until the store has heard it."""
    live.close_cell(run, record, artifacts)
    live.settle()


def fail_cell(run: str | None) -> None:
    """End a cell without a result, and wait until the store has heard it."""
    live.fail_cell(run)
    live.settle()


def opened(identity: Identity) -> str:
    """Open a cell and return the id of its run."""
    return run_of(open_cell(identity))


def die() -> None:
    """Let every sweep of this process go as the kernel does where a process ends."""
    while _locks:
        _locks.pop().release()


def run_of(parent: str) -> str:
    """Return the id of the run of a cell."""
    store.current().settle()
    return Path(parent).read_text()


def trial_of(trial: Trial) -> str:
    """Return the id of a trial's run."""
    assert trial.run is not None
    store.current().settle()
    run = trial.run.result()
    assert run is not None
    return run
