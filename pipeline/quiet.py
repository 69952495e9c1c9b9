"""Who may work on this machine at the same time: trials beside each other, a measurement alone.

Every trial that computes holds a share of one lock, a measurement holds all of it: it waits until the trials at work
have ended, and those that come later wait for it. So does a trial that takes every core: two of them, each with as
many threads as there are cores, take ten times as long side by side. The locks are this user's on this machine,
whatever the project, and the kernel gives them back however a process ends. Of several processes that train together
the first of each machine holds them.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pipeline import distributed, paths

_shares: list[IO[str]] = []  # what this process holds of the lock: one while it works, none while it measures
_whole: list[IO[str]] = []  # what it holds while it works alone


@contextmanager
def working() -> Iterator[None]:
    """Work beside other trials, but beside no measurement."""
    if not distributed.leads_here():
        yield
        return
    _take_share()
    try:
        yield
    finally:
        _give_back()


@contextmanager
def alone() -> Iterator[None]:
    """Work with nothing beside it, because the work takes every core; what it measures is alone as well."""
    if not distributed.leads_here():
        yield
        return
    with _locked("gate", fcntl.LOCK_EX), _locked("work", fcntl.LOCK_EX) as lock:
        _whole.append(lock)
        try:
            yield
        finally:
            _whole.pop()


@contextmanager
def measuring() -> Iterator[None]:
    """Measure with nothing beside it; a share that this process holds is given back meanwhile."""
    if _whole or not distributed.leads_here():
        yield
        return
    shared = bool(_shares)
    _give_back()
    try:
        with _locked("gate", fcntl.LOCK_EX), _locked("work", fcntl.LOCK_EX):
            yield
    except KeyboardInterrupt:
        shared = False  # it ends now: its share could be a whole measurement away
        raise
    finally:
        if shared:
            _take_share()


def _take_share() -> None:
    with _locked("gate", fcntl.LOCK_SH):  # closed while a measurement waits or is at work
        _shares.append(_locked("work", fcntl.LOCK_SH))


def _give_back() -> None:
    while _shares:
        _shares.pop().close()


def _locked(name: str, kind: int) -> IO[str]:
    """Return a file that is locked until it is closed."""
    file = (paths.of_machine() / f"{name}.lock").open("a", encoding="utf-8")
    fcntl.flock(file, kind)
    return file
