"""Repair the files that DVC leaves half-written when it is killed; ``lab run`` does this before it starts DVC.

DVC writes ``dvc.lock`` and its list of locked paths (``.dvc/tmp/rwlock``) in place, so a kill can truncate them.
A truncated ``dvc.lock`` keeps its complete entries. Entries behind them come from a copy that the last ``lab run`` made
at its start. A cell without an entry comes back from DVC's run cache.
"""

from __future__ import annotations

import fcntl
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError

RWLOCK = paths.ROOT / ".dvc" / "tmp" / "rwlock"  # JSON: which process reads and writes which path
TIMEOUT_SECONDS = 10.0
DVC_MODULE = "pipeline.runner.dvc_process"  # on the command line of a DVC that the runner started
HEADER = "schema: '2.0'\nstages:\n"
ENTRY = re.compile(r"^  \S.*\n(?:    .*\n)*", re.MULTILINE)


def repair_files() -> None:
    """Repair truncated lock files, drop locks of dead processes, and copy the lock files.

    Does nothing while a DVC holds its own lock: that one could open the files.
    """
    if not RWLOCK.parent.is_dir():
        return
    with suppress(UserError), hold_dvc_lock():
        for lock in paths.list_lock_files():
            copy = _get_copy(lock)
            if lock.exists() and not (copy.exists() and copy.read_bytes() == lock.read_bytes()):
                if not _is_complete(lock):
                    _repair_lock_file(lock, copy)
                if lock.exists():
                    paths.write_bytes(copy, lock.read_bytes())
        _drop_dead_locks()


def is_dvc_running() -> bool:
    """Return whether DVC runs a stage."""
    locked = json.loads(RWLOCK.read_text(encoding="utf-8")) if RWLOCK.exists() else {}
    return any(locked.values())


@contextmanager
def hold_dvc_lock() -> Iterator[None]:
    """Hold the lock under which DVC writes its files; DVC itself holds it for moments, not while a stage runs.

    Raises UserError where a DVC does not release it in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    RWLOCK.parent.mkdir(parents=True, exist_ok=True)  # missing in a fresh clone
    with RWLOCK.with_name("lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError("another `dvc` is running; wait for it, then run the same command again") from None
                time.sleep(0.02)
        yield


def _get_copy(lock: Path) -> Path:
    return paths.CACHE / lock.relative_to(paths.ROOT)


def _is_complete(file: Path) -> bool:
    """Return whether DVC could read a lock file: stages, each with its command."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content: Any = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        return False
    stages = content.get("stages") if isinstance(content, dict) else None
    return isinstance(stages, dict) and all(isinstance(stage, dict) and "cmd" in stage for stage in stages.values())


def _repair_lock_file(lock: Path, copy: Path) -> None:
    """Keep the complete entries of a truncated lock file, and add those of its copy."""
    *complete, _ = ["", *_split_entries(lock)]  # the last one may be truncated
    entries = {_read_name(entry): entry for entry in [*(_split_entries(copy) if copy.exists() else ()), *complete[1:]]}
    broken = copy.with_name("dvc.lock.broken")
    paths.write_bytes(broken, lock.read_bytes())
    paths.write_bytes(lock, (HEADER + "".join(entries.values())).encode())
    if entries and _is_complete(lock):
        result = f"repaired, with {len(entries)} stages"
    else:
        lock.unlink()
        result = "removed, since no stage in it is complete"
    print(
        f"{lock.relative_to(paths.ROOT)} was truncated when DVC was killed: {result}; the truncated file is "
        f"{broken.relative_to(paths.ROOT)}, and finished cells come from DVC's cache",
        file=sys.stderr,
    )


def _split_entries(file: Path) -> list[str]:
    return ENTRY.findall(file.read_text(encoding="utf-8", errors="replace"))


def _read_name(entry: str) -> str:
    return entry.partition("\n")[0]


def _drop_dead_locks() -> None:
    """Drop the locks of processes that have ended; another program may have their process id now."""
    try:
        content = json.loads(RWLOCK.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        RWLOCK.unlink()
        return
    readers, writers = content.get("read", {}), content.get("write", {})
    live = {path: [info for info in infos if _is_dvc(info["pid"])] for path, infos in readers.items()}
    locked = {
        "write": {path: info for path, info in writers.items() if _is_dvc(info["pid"])},
        "read": {path: infos for path, infos in live.items() if infos},
    }
    if locked != {"write": writers, "read": readers}:  # DVC omits what is empty
        paths.write_bytes(RWLOCK, json.dumps(locked).encode())


def _is_dvc(process_id: int) -> bool:
    import psutil

    try:
        words = psutil.Process(process_id).cmdline()[:4]
    except psutil.Error:
        return False
    return any(Path(word).name == "dvc" or word == DVC_MODULE for word in words)
