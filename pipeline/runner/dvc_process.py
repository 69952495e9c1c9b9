"""Run `dvc` commands as subprocesses that can be stopped together.

``python -m pipeline.runner.dvc_process repro`` is `dvc repro` that ends with its parent, and that ends without a
traceback if Ctrl-C arrives while DVC is imported.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pipeline.core import paths
from pipeline.core.exits import INTERRUPTED_STATUS
from pipeline.runner import dvc_lock_repair
from pipeline.system import parent_process

COMMAND = (sys.executable, "-m", dvc_lock_repair.DVC_MODULE)


class DvcProcesses:
    """Run DVC commands, each in a process group, from several threads; ``stop`` interrupts all of them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, words: Sequence[str], print_line: Callable[[str], None]) -> int:
        """Run a `dvc` command, pass on each line that it prints, and return its exit status.

        Raises OSError where no process can be started, and what ``print_line`` raises.
        """
        with self._lock:
            if self._stopped:
                return INTERRUPTED_STATUS
            process = _start(words)
            self._running.add(process)
        assert process.stdout
        try:
            for line in process.stdout:
                print_line(line.rstrip())
        except BaseException as error:
            _interrupt(process)
            for line in process.stdout:  # until the stage has saved its state and ended
                if not isinstance(error, Exception):  # Ctrl-C or another signal
                    print_line(line.rstrip())
            raise
        finally:
            process.stdout.close()
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        if status < 0:
            dvc_lock_repair.repair_files()
            print_line(f"dvc {' '.join(words)}: was killed by signal {-status}")
        return status if status >= 0 else 128 - status

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C in a terminal does, and let nothing else start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _interrupt(process)


def run_in_foreground(words: Sequence[str]) -> int:
    """Run a `dvc` command on this terminal, pass SIGTERM and SIGHUP on as Ctrl-C, and return its exit status."""
    received: list[int] = []

    def interrupt_children(number: int, _: object) -> None:
        import psutil

        received.append(number)
        if number != signal.SIGINT:  # a terminal sends that one to all processes
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)

    with _block_sigint():
        process = subprocess.Popen([*COMMAND, *words], cwd=paths.ROOT)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt_children)
    status = process.wait()
    dvc_lock_repair.repair_files()
    if received:
        return 128 + received[0]
    return status if status >= 0 else 128 - status


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    with _block_sigint():
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Block Ctrl-C in this thread and in a process that it starts, which unblocks it once it can handle it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interrupt(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def main() -> None:
    """Be `dvc` with the words of the command line."""
    parent_process.end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script starts background commands without it
    sys.argv[0] = "dvc"
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        from dvc.cli import main as run_dvc

        sys.exit(run_dvc(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
