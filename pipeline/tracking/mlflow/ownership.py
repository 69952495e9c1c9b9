"""Which runs are active: each names the folder of its sweep, whose lock its process holds until it ends.

The kernel releases a lock however a process ends, so neither clocks nor process ids decide.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import paths

TAG = "worked_on"
_own_sweeps: set[Path] = set()


def add_own_sweep(folder: Path) -> None:
    """Note that this process closes the cells of the sweep in ``folder``, whose lock it holds."""
    _own_sweeps.add(folder)


def is_own_sweep(folder: Path) -> bool:
    """Return whether this process closes the cells of the sweep in ``folder``."""
    return folder in _own_sweeps


@contextmanager
def create_sweep() -> Iterator[Path]:
    """Yield a new folder whose lock this process holds, for a cell without a Hydra sweep."""
    from filelock import FileLock

    paths.CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
    with FileLock(f"{folder}.lock") as lock:
        add_own_sweep(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def format_sweep(folder: Path) -> str:
    """Return the value of the tag by which a run names the folder of its sweep."""
    return f"{socket.gethostname()}:{folder}"


def is_active(owner: str | None) -> bool:
    """Return whether a process holds the lock of the folder that a run's tag names.

    A folder of another machine that is not visible here counts as locked.
    """
    if owner is None:
        return False
    host, _, folder = owner.partition(":")
    try:
        with Path(f"{folder}.lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return host != socket.gethostname()
    except OSError:  # locked, or another user's
        return True
    return False
