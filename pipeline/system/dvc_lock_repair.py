"""What DVC leaves half-written when it is killed, put right before the next `dvc repro` reads it.

DVC writes ``dvc.lock`` and the list of its own locks in place: killed in the middle it leaves files that no later `dvc`
opens. Each stage that DVC runs keeps a whole copy of ``dvc.lock``, ends with the DVC that runs it, and sees to it that
a process waits for the end of that DVC: ``python -m pipeline.system.dvc_lock_repair <process>``. Where that one died
too, `make repro`
mends by ``python -m pipeline.system.dvc_lock_repair``. A cell that is missing in the copy comes back from DVC's run
cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.system import parent_process

LOCKS = paths.ROOT / ".dvc" / "tmp" / "rwlock"  # which process reads and writes what, in JSON
PATIENCE_SECONDS = 10.0
ENDED_SECONDS = 0.2  # between two looks whether a DVC has ended
FORKED = "pipeline.runner.dvc_preload"  # in the command line of a fork that is a DVC
WATCHED = "LAB_WATCHED"  # the process that runs several DVCs, whose end is waited for in place of theirs


def stand_by() -> None:
    """Where DVC runs this process: end with it, and let its files be mended should it be killed."""
    if "DVC_STAGE" not in os.environ:
        return
    parent_process.end_with_parent()
    if not LOCKS.parent.is_dir():
        return
    with suppress(UserError), alone():  # another DVC may be writing them
        for file in paths.list_lock_files():
            if file.exists() and not _copied(file):
                paths.write_bytes(_copy(file), file.read_bytes())
    watched = int(os.environ.get(WATCHED, os.getppid()))
    with _watched(watched) as lock:
        if lock is not None:
            import subprocess

            subprocess.Popen(
                [sys.executable, "-m", "pipeline.system.dvc_lock_repair", str(watched)],
                cwd=paths.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if WATCHED in os.environ else None,  # who watches reads it to its end
                start_new_session=True,
                pass_fds=[lock],  # held for as long as it lives
            )


@contextmanager
def _watched(process: int) -> Iterator[int | None]:
    """Yield a file that is locked, or None where somebody waits for the end of the process already."""
    paths.CACHE.mkdir(exist_ok=True)
    with (paths.CACHE / f"watched-{process}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def wait_and_mend(parent: int) -> None:
    """Wait until the DVC that is ``parent``, or that runs the shell that is, has ended; then mend what it left.

    Where ``parent`` is no DVC but runs several of them, its own end is waited for.
    """
    import psutil

    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(parent)
        dvc = next((process for process in (started, *started.parents()) if _is_dvc(process.pid)), started)
        while not _ended(dvc.pid):
            with suppress(psutil.TimeoutExpired):
                dvc.wait(ENDED_SECONDS)
    mend()


def mend() -> None:
    """Put ``dvc.lock`` back to its last whole state where it is not whole, and strike dead processes' locks out."""
    if not LOCKS.parent.is_dir():
        return
    for left in paths.CACHE.glob("watched-*.lock"):
        if _ended(int(left.stem.removeprefix("watched-"))):
            left.unlink(missing_ok=True)
    with suppress(UserError), alone():  # it is in the hands of a DVC that opened these files
        for lock in paths.list_lock_files():
            if lock.exists() and not _copied(lock) and not _whole(lock):
                _put_back(lock)
        _strike_out()


def at_work() -> bool:
    """Say whether DVC runs a stage."""
    held = json.loads(LOCKS.read_text(encoding="utf-8")) if LOCKS.exists() else {}
    return any(held.values())


def _copy(lock: Path) -> Path:
    return paths.CACHE / lock.relative_to(paths.ROOT)


def _copied(lock: Path) -> bool:
    """Say whether the copy of a lock file is what stands there: a plan may have many, of which a stage changes one."""
    copy = _copy(lock)
    return copy.exists() and copy.read_bytes() == lock.read_bytes()


@contextmanager
def alone() -> Iterator[None]:
    """Hold DVC's own lock, under which it writes its files; it is held for moments, not while a stage works.

    Raises UserError where a DVC does not let go of it.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    LOCKS.parent.mkdir(parents=True, exist_ok=True)  # in a fresh clone no DVC has made it yet
    with LOCKS.with_name("lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError("a `dvc` is at work; wait for it, and run the command again") from None
                time.sleep(0.02)
        yield


def _whole(file: Path) -> bool:
    """Say whether DVC could read a lock file: stages, each with its command."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content: Any = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        return False
    stages = content.get("stages") if isinstance(content, dict) else None
    return isinstance(stages, dict) and all(isinstance(stage, dict) and "cmd" in stage for stage in stages.values())


def _put_back(lock: Path) -> None:
    copy = _copy(lock)
    if copy.exists() and _whole(copy):
        paths.write_bytes(lock, copy.read_bytes())
        told = "it is as it was before the last cell again"
    else:
        import shutil

        broken = copy.with_name("dvc.lock.broken")
        broken.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(lock, broken)
        told = f"nothing whole was there to put in its place, so it lies in {broken.relative_to(paths.ROOT)}"
    which = lock.relative_to(paths.ROOT)
    print(f"{which} was half-written when DVC was killed: {told}; what ran comes from DVC's cache", file=sys.stderr)


def _strike_out() -> None:
    """Drop the locks of processes that are no more; another process may bear their number by now."""
    try:
        content = json.loads(LOCKS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        LOCKS.unlink()
        return

    readers, writers = content.get("read", {}), content.get("write", {})
    read = {path: [info for info in held if _is_dvc(info["pid"])] for path, held in readers.items()}
    kept = {
        "write": {path: info for path, info in writers.items() if _is_dvc(info["pid"])},
        "read": {path: held for path, held in read.items() if held},
    }
    if kept != {"write": writers, "read": readers}:  # DVC leaves out what is empty
        paths.write_bytes(LOCKS, json.dumps(kept).encode())


def _ended(process: int) -> bool:
    """Say whether a process has ended, though who began it has not asked how: it may still read what that one said.

    To wait for that as well would be to wait for each other: what waits here holds the standard error open.
    """
    import psutil

    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _is_dvc(process: int) -> bool:
    import psutil

    try:
        words = psutil.Process(process).cmdline()[:4]
    except psutil.Error:
        return False
    return any(Path(word).name == "dvc" or FORKED in word for word in words)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        wait_and_mend(int(sys.argv[1]))
    else:
        mend()
