"""Run the plan by DVC, on one job or several, then print its results."""

import asyncio
import os
import signal
import subprocess
import sys

from pipeline import plan
from pipeline.cli import split
from pipeline.core import paths
from pipeline.plan import Plan
from pipeline.runner.scheduler import reproduce
from pipeline.stages import compare
from pipeline.system import dvc_lock_repair, preload

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(jobs: int) -> int:
    """Run what is stale with ``jobs`` parallel cells, print the results, and return the exit status."""
    dvc_lock_repair.mend()
    if (paths.ROOT / "parts").is_dir():
        split.split([])  # for a params.yaml that was edited
    os.environ["LAB_RUN"] = "1"  # the comparison prints nothing: its tables come last, also where it is up to date
    status = run_serial() if jobs == 1 else run_parallel(jobs)
    if not status:
        compare.show()
    return status


def run_serial() -> int:
    """Run a plain `dvc repro` on this terminal, let it end well at a signal, and return the exit status."""
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=paths.ROOT) as dvc:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to DVC and its stage as well
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: _interrupt_children())
        status = dvc.wait()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dvc_lock_repair.mend()
    return status if status >= 0 else 128 - status


def _interrupt_children() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        process.send_signal(signal.SIGINT)


def run_parallel(jobs: int) -> int:
    """Run what is stale with several parallel cells and return the exit status."""
    study = plan.load()
    preload.start_server()
    try:
        return asyncio.run(_run_until_signal(study, jobs))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _run_until_signal(study: Plan, jobs: int) -> int:
    received: list[int] = []
    work = asyncio.create_task(reproduce(study, jobs))

    def stop(number: int) -> None:
        received.append(number)
        work.cancel()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        dvc_lock_repair.mend()  # DVC may have been writing its lock list, in place
        return 128 + received[0]
