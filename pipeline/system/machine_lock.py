"""Machine-wide lock of the cores: trials hold it shared, measurements exclusively.

Every core has a lock. A trial holds a shared lock of each core that its process may use, a measurement an exclusive
one. A measurement waits for the trials on its cores, and later trials wait for the measurement. A trial that uses every
core holds the locks exclusively too: two trials with as many threads as cores take ten times as long together.
Processes on different cores (``taskset``) do not wait for each other, unless a third one waits for the cores of both.

The locks belong to this user on this machine, and the kernel releases them when a process ends. They are acquired in
one order (gates before cores, lowest core first), which prevents deadlocks. Of several processes that train together,
the first one of each machine holds them.

A wait of more than a second is reported. ``get_waited_seconds`` counts it, so that no trial's duration contains it.
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

Report = Callable[[str], None]

REPORT_SECONDS = 1.0  # a shorter wait is not reported
SHARED = "another command uses them exclusively"
ALONE = "this command needs them exclusively, and others use them"

_shares: list[ExitStack] = []  # shared locks of this process: one stack in a trial, none in a measurement
_exclusive: list[ExitStack] = []  # exclusive locks of a trial that uses every core
_waits: list[float] = []  # seconds


@contextmanager
def lock_shared(report: Report | None = None) -> Iterator[None]:
    """Run a trial together with others, but with no measurement on the same cores; ``report`` prints a wait."""
    if not distributed.is_local_rank_zero():
        yield
        return
    _acquire_shared(report)
    try:
        yield
    finally:
        _release_shared()


@contextmanager
def lock_exclusive(report: Report | None = None) -> Iterator[None]:
    """Run a trial that uses all of its cores, and its measurements, with nothing else on them."""
    if not distributed.is_local_rank_zero():
        yield
        return
    with _lock_exclusively(report) as locks:
        _exclusive.append(locks)
        try:
            yield
        finally:
            _exclusive.pop()


@contextmanager
def lock_for_measurement(report: Report | None = None) -> Iterator[None]:
    """Measure with nothing else on the same cores; the shared lock of this process is released meanwhile."""
    if _exclusive or not distributed.is_local_rank_zero():
        yield
        return
    shared = bool(_shares)
    _release_shared()
    try:
        with _lock_exclusively(report):
            yield
    except KeyboardInterrupt:
        shared = False  # the process ends now, and would wait for a whole measurement
        raise
    finally:
        if shared:
            _acquire_shared(report)


def get_waited_seconds() -> float:
    """Return how many seconds this process has waited for cores so far."""
    return sum(_waits)


@contextmanager
def _lock_exclusively(report: Report | None) -> Iterator[ExitStack]:
    with ExitStack() as locks:
        with _Wait(ALONE, report) as wait:
            for name in ("gate", "core"):
                wait.lock(locks, name, fcntl.LOCK_EX)
        yield locks


def _acquire_shared(report: Report | None) -> None:
    with _Wait(SHARED, report) as wait, ExitStack() as gates, ExitStack() as locks:
        wait.lock(gates, "gate", fcntl.LOCK_SH)  # held exclusively while a measurement waits or runs
        wait.lock(locks, "core", fcntl.LOCK_SH)
        _shares.append(locks.pop_all())


def _release_shared() -> None:
    while _shares:
        _shares.pop().close()


@cache  # OpenMP may bind the main thread to one core later
def _read_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that this process may use, in ascending order."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0,)


class _Wait:
    """The wait of a process for its locks: counted, and reported once it takes long."""

    def __init__(self, reason: str, report: Report | None) -> None:
        self.reason, self.report = reason, report
        self.seconds = 0.0
        self.reported = False

    def __enter__(self) -> _Wait:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.reported and self.report:
            self.report(f"waited {self.seconds:.1f} s for {_format_cores()}; no measured time contains it")

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
        if self.report and not self.reported:
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
        if self.report:
            self.report(f"waiting for {_format_cores()}: {self.reason}{_format_holders(file)}")


def _format_cores() -> str:
    """Return the cores of this process as text: ``core 3`` or ``cores 0-1, 4``."""
    ranges: list[list[int]] = []
    for core in _read_cores():
        if ranges and core == ranges[-1][-1] + 1:
            ranges[-1].append(core)
        else:
            ranges.append([core])
    text = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ranges)
    return f"core{'s' if len(_read_cores()) > 1 else ''} {text}"


def _format_holders(file: IO[str]) -> str:
    """Return the processes that hold a lock with their folders, in brackets; empty where the kernel lists none."""
    holders = []
    with suppress(OSError):
        inode = str(os.fstat(file.fileno()).st_ino)
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            _, kind, _, _, process, place, *_ = line.split()  # "1: -> FLOCK ..." is a process that waits
            if kind == "FLOCK" and place.rpartition(":")[2] == inode:
                holders.append(f"process {process} in {os.readlink(f'/proc/{process}/cwd')}")
    return f" ({', '.join(holders)})" if holders else ""
