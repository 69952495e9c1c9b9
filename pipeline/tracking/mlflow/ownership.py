"""Which runs somebody works on: each names the folder of its sweep, whose lock its process holds until it ends.

The kernel gives a lock back however a process ends, so neither clocks nor process ids decide.
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
_closed_here: set[Path] = set()


def close_here(folder: Path) -> None:
    """Say that this process closes the cells of the sweep in ``folder``, whose lock it holds."""
    _closed_here.add(folder)


def is_closed_here(folder: Path) -> bool:
    """Say whether this process closes the cells of the sweep in ``folder``."""
    return folder in _closed_here


@contextmanager
def begun() -> Iterator[Path]:
    """Yield a new folder whose lock this process holds, for work that has no sweep's."""
    from filelock import FileLock

    paths.CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
    with FileLock(f"{folder}.lock") as lock:
        close_here(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def named(folder: Path) -> str:
    """Return what a run says of the folder that it is worked on in."""
    return f"{socket.gethostname()}:{folder}"


def goes_on(name: str | None) -> bool:
    """Say whether a process holds the lock of the folder that a run names.

    What another machine does in folders that are not seen from here cannot be known: it counts as work.
    """
    if name is None:
        return False
    host, _, folder = name.partition(":")
    try:
        with Path(f"{folder}.lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return host != socket.gethostname()
    except OSError:  # it is held, or another user's
        return True
    return False
