"""`dvc` in forks of one process that has imported it: its imports are paid once, not once for each of many cells.

That process is the fork server of Python's standard library, with ``pipeline/runner/dvc_preload.py`` in it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.exits import INTERRUPTED_STATUS
from pipeline.core.system_errors import AGAIN
from pipeline.system import dvc_lock_repair, parent_process

LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")  # bytes that a socket's name may have
LONGEST_LINE = 2**22  # bytes of what a stage says
FORKS = get_context("forkserver")


async def run(words: Sequence[str], say: Callable[[str], None]) -> int:
    """Run a `dvc` command, tell each line that it or its stage says, and return its status; stop it when cancelled.

    Raises UserError where no process can be started.
    """
    _prepare()
    told, tells = FORKS.Pipe(duplex=False)
    fork = FORKS.Process(target=_become, args=(words, tells, paths.ROOT, os.getpid()))
    try:
        with _deaf():
            fork.start()
    except EOFError:  # the fork server has ended
        raise UserError(
            "dvc: the process that starts it has ended: somebody killed it, or the machine allows no more processes "
            f"(`ulimit -u`); see to that and {AGAIN}"
        ) from None
    assert fork.pid
    tells.close()
    lines = asyncio.StreamReader(limit=LONGEST_LINE)
    pipe = os.fdopen(os.dup(told.fileno()), "rb")
    told.close()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), pipe)
    begun = asyncio.ensure_future(lines.readline())
    try:
        await asyncio.shield(begun)
        await _each(lines, say)
    except BaseException as error:
        await begun
        with suppress(ProcessLookupError):
            os.killpg(fork.pid, signal.SIGINT)  # as a terminal does: a stage says what is safe, and ends
        await _each(lines, say if isinstance(error, asyncio.CancelledError) else lambda _: None)
        raise
    finally:
        fork.join()
    status = fork.exitcode or 0
    if status < 0:
        dvc_lock_repair.mend()
        say(f"dvc {' '.join(words)}: was killed by signal {-status}")
    return status if status >= 0 else 128 - status


def _prepare() -> None:
    """Tell the fork server what to import, and where its socket may be: it needs a short name, unlike some TMPDIR."""
    FORKS.set_forkserver_preload([dvc_lock_repair.FORKED])
    resource_tracker.ensure_running()  # whose start ends every deafness
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = paths.SHORT_TEMP_DIR  # in which it makes a folder of its own


@contextmanager
def _deaf() -> Iterator[None]:
    """Keep Ctrl-C from this process until the block ends, and for ever from a fork server that begins in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _each(lines: asyncio.StreamReader, say: Callable[[str], None]) -> None:
    async for line in lines:
        say(line.decode(errors="replace").rstrip())


def _become(words: Sequence[str], tells: Connection, folder: Path, watched: int) -> None:
    """Be `dvc` in a process group of its own, which the first line tells; ends with the fork server."""
    from dvc.cli import main

    parent_process.end_with_parent()
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background commands are begun without it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(tells.fileno(), 1)
    os.dup2(tells.fileno(), 2)
    tells.close()
    os.chdir(folder)
    os.environ[dvc_lock_repair.WATCHED] = str(watched)
    sys.argv = ["dvc", *words]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        print(flush=True)
        sys.exit(main(list(words)))
    except KeyboardInterrupt:  # before DVC listens
        sys.exit(INTERRUPTED_STATUS)
