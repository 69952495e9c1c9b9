"""Which commands may compute on the same cores at the same time: trials together, a measurement alone.

Every core has a lock. A trial that computes holds a share of the locks of the cores that its process may use, a
measurement holds them whole: it waits until the trials on its cores have ended, and later ones wait for it. So does a
trial that takes every core: two of them, each with as many threads as there are cores, take ten times as long together.
Processes on different cores (``taskset``) do not wait for each other, unless a third one waits for the cores of both.

The locks belong to this user on this machine, not to a project, and the kernel drops them however a process ends. They
are taken in one order, gates before cores, each from the lowest core up, so that no two processes block each other. Of
several processes that train together the first of each machine holds them.

A wait of more than a second is reported, and ``waited_seconds`` counts it, so that no trial's duration contains it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from pipeline.core import paths
from pipeline.system import distributed

Say = Callable[[str], None]

REPORT_SECONDS = 1.0  # a shorter wait is not worth a line
SHARED = "another command runs alone there"
ALONE = "this command runs alone there, and others use them"

_shares: list[ExitStack] = []  # the locks that this process shares: one stack while it works, none while it measures
_whole: list[ExitStack] = []  # the locks that it holds while it works alone
_waits: list[float] = []  # seconds


@contextmanager
def lock_shared(say: Say | None = None) -> Iterator[None]:
    """Work together with other trials, but with no measurement on the same cores; ``say`` reports a wait."""
    if not distributed.is_local_rank_zero():
        yield
        return
    _take_share(say)
    try:
        yield
    finally:
        _give_back()


@contextmanager
def lock_exclusive(say: Say | None = None) -> Iterator[None]:
    """Work with nothing else on the same cores, because the work takes all of them; what it measures is alone too."""
    if not distributed.is_local_rank_zero():
        yield
        return
    with _lock_whole(say) as locks:
        _whole.append(locks)
        try:
            yield
        finally:
            _whole.pop()


@contextmanager
def lock_for_measurement(say: Say | None = None) -> Iterator[None]:
    """Measure with nothing else on the same cores; a share that this process holds is given back meanwhile."""
    if _whole or not distributed.is_local_rank_zero():
        yield
        return
    shared = bool(_shares)
    _give_back()
    try:
        with _lock_whole(say):
            yield
    except KeyboardInterrupt:
        shared = False  # it ends now: its share could be a whole measurement away
        raise
    finally:
        if shared:
            _take_share(say)


def get_waited_seconds() -> float:
    """Return how many seconds this process has waited for cores so far."""
    return sum(_waits)


@contextmanager
def _lock_whole(say: Say | None) -> Iterator[ExitStack]:
    with ExitStack() as locks:
        with _Wait(ALONE, say) as wait:
            for name in ("gate", "core"):
                wait.lock(locks, name, fcntl.LOCK_EX)
        yield locks


def _take_share(say: Say | None) -> None:
    with _Wait(SHARED, say) as wait, ExitStack() as gates, ExitStack() as locks:
        wait.lock(gates, "gate", fcntl.LOCK_SH)  # closed while a measurement waits or runs
        wait.lock(locks, "core", fcntl.LOCK_SH)
        _shares.append(locks.pop_all())


def _give_back() -> None:
    while _shares:
        _shares.pop().close()


@cache  # OpenMP may bind the main thread to one core later
def _read_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that this process may use, in ascending order."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0,)


class _Wait:
    """The time for which a process waits for its locks: reported once it takes long, and counted."""

    def __init__(self, reason: str, say: Say | None) -> None:
        self.reason, self.say = reason, say
        self.seconds = 0.0
        self.reported = False

    def __enter__(self) -> _Wait:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.reported and self.say:
            self.say(f"waited {self.seconds:.1f} s for {_format_cores()}; no measured time contains it")

    def lock(self, locks: ExitStack, name: str, kind: int) -> None:
        """Lock one file for each core, from the lowest up; closing ``locks`` unlocks them."""
        folder = paths.get_machine_dir()
        for core in _read_cores():
            file = locks.enter_context((folder / f"{name}-{core}.lock").open("a", encoding="utf-8"))
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait(file, kind)

    def _wait(self, file: IO[str], kind: int) -> None:
        started = time.monotonic()
        report = threading.Timer(max(REPORT_SECONDS - self.seconds, 0.0), self._report, [file])
        report.daemon = True
        if self.say and not self.reported:
            report.start()
        try:
            fcntl.flock(file, kind)
        finally:
            report.cancel()
            seconds = time.monotonic() - started
            self.seconds += seconds
            _waits.append(seconds)

    def _report(self, file: IO[str]) -> None:
        self.reported = True
        if self.say:
            self.say(f"waiting for {_format_cores()}: {self.reason}{_format_holders(file)}")


def _format_cores() -> str:
    """Return the cores of this process in words: ``core 3`` or ``cores 0-1, 4``."""
    runs: list[list[int]] = []
    for core in _read_cores():
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    text = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"core{'s' if len(_read_cores()) > 1 else ''} {text}"


def _format_holders(file: IO[str]) -> str:
    """Return in brackets who holds a lock, each process with its folder; nothing where the kernel does not list it."""
    holders = []
    with suppress(OSError):
        inode = str(os.fstat(file.fileno()).st_ino)
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            _, kind, _, _, process, place, *_ = line.split()  # "1: -> FLOCK ..." is a process that waits
            if kind == "FLOCK" and place.rpartition(":")[2] == inode:
                holders.append(f"process {process} in {os.readlink(f'/proc/{process}/cwd')}")
    return f" ({', '.join(holders)})" if holders else ""
