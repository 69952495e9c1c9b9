"""``python -m pipeline.repro JOBS``: the plan by DVC, with so many cells side by side; `make repro JOBS=n`.

A `dvc repro` runs one stage at a time. Several of them, each with one stage of its own (``--single-item``) and the
patience to wait for the others' lock (``--wait-for-lock``), run as many, and DVC keeps its files in order. So cells
that train are given out in the order of what they need, to ``JOBS`` processes; whatever measures comes afterwards, in
one `dvc repro` with nothing beside it. The files are those of a plain `dvc repro`, to the byte but for what a clock
or the memory decides: how many threads a trial has stands in its configuration, not in how many jobs there are.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from pipeline import listing, machine, mend, paths, plan, warm
from pipeline.errors import UserError, ending
from pipeline.pace import Board, Pace
from pipeline.plan import Cell, Plan

ALONE = ("evaluate", "benchmark")  # stages that measure
MOST = 1024
LONGEST_LINE = 2**22  # bytes of what a stage says
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RUNNING = re.compile(r"Running stage '(?P<address>.+)':")
CHATTER = re.compile(
    r"(Running stage|Stage) '.*|> .*|(Updat|Generat)ing lock file '.*|Data and pipelines are up to date\.|"
    r"Use `dvc push`.*|To track the changes with git, run:|\s*git add .*|"
    r"To enable auto staging, run:|\s*dvc config core\.autostage true|"
)


async def reproduce(study: Plan, jobs: int) -> int:
    """Check the plan, run what is stale of it, ``jobs`` cells at a time, and return the status for the shell."""
    if status := await _dvc(["repro", "--quiet", "--single-item", "plan", "modules"], print):
        return status
    stale = listing.stale_cells(study)
    cells = {cell.address: cell for cell in study.cells if cell.address in stale}
    beside = {address: cell for address, cell in cells.items() if jobs > 1 and cell.stage not in ALONE}
    with Board(Pace(study, cells.values(), beside, jobs)) as board:
        status = await _side_by_side(beside, jobs, board) or await _alone(board)
    return status


async def _side_by_side(cells: dict[str, Cell], jobs: int, board: Board) -> int:
    """Run cells in the order of what they need, the longest way to an end first; a failure lets none begin."""
    needs = {address: cells.keys() & set(cell.needs) for address, cell in cells.items()}
    first = _ranks(needs, board.pace.expected)
    order = TopologicalSorter(needs)
    order.prepare()
    ready: list[tuple[float, str]] = []
    running: dict[asyncio.Task[int], str] = {}
    status = 0
    async with asyncio.TaskGroup() as group:
        while order.is_active():
            for address in order.get_ready():
                heappush(ready, (-first[address], address))
            while ready and len(running) < jobs and not status:
                address = heappop(ready)[1]
                board.begins(address)
                running[group.create_task(_cell(address, board))] = address
            if not running:
                break
            for task in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                address = running.pop(task)
                board.ends(address, well=not task.result())
                status = status or task.result()
                order.done(address)
    return status


def _ranks(needs: dict[str, set[str]], expected: Callable[[str], float]) -> dict[str, float]:
    """Return for each cell how long it takes at least from its beginning to the end of the last that needs it."""
    ranks = {address: expected(address) for address in needs}
    for address in reversed([*TopologicalSorter(needs).static_order()]):
        for source in needs[address]:
            ranks[source] = max(ranks[source], expected(source) + ranks[address])
    return ranks


async def _cell(address: str, board: Board) -> int:
    return await _dvc(["--wait-for-lock", "repro", "--quiet", "--single-item", address], board.say)


async def _alone(board: Board) -> int:
    """Run all that is left, one stage after another, in one `dvc repro`."""
    at_work: list[str] = []

    def say(line: str) -> None:
        if begins := RUNNING.fullmatch(line):
            for address in at_work:
                board.ends(address)
            at_work[:] = [begins["address"]]
            board.begins(begins["address"])
        elif not CHATTER.fullmatch(line):
            board.say(line)

    status = await _dvc(["repro"], say)
    for address in at_work:
        board.ends(address, well=not status)
    return status


async def _dvc(words: Sequence[str], say: Callable[[str], None]) -> int:
    """Run a `dvc` command, tell each line that it or its stage says, and return its status; stop it when cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dvc", *words,
        cwd=paths.ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {mend.WATCHED: str(os.getpid())}, process_group=0, preexec_fn=_end_with_parent,
        limit=LONGEST_LINE,
    )  # fmt: skip
    assert process.stdout
    try:
        async for line in process.stdout:
            say(line.decode(errors="replace").rstrip())
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: a stage says what is safe, and ends
        async for line in process.stdout:
            say(line.decode(errors="replace").rstrip())
        raise
    status = await process.wait()
    if status < 0:
        mend.mend()
        say(f"dvc {' '.join(words)}: was killed by signal {-status}")
    return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl(2): its stage ends with DVC


async def _until_told(study: Plan, jobs: int) -> int:
    """Reproduce the plan, but stop well at a signal."""
    told: list[int] = []
    work = asyncio.create_task(reproduce(study, jobs))

    def stop(number: int) -> None:
        told.append(number)
        work.cancel()

    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        return 128 + told[0]


def main(words: list[str]) -> int:
    """Run the plan with as many jobs as the command line says and return the status for the shell."""
    if len(words) != 1 or not words[0].isdecimal() or not 1 <= int(words[0]) <= MOST:
        raise UserError(
            f"JOBS: got {' '.join(words)!r}; give a whole number from 1 to {MOST}, such as JOBS={machine.cores()}"
        )
    study = plan.load()
    warm.prepare()
    try:
        return asyncio.run(_until_told(study, int(words[0])))
    except ExceptionGroup as several:  # of a task group, in which the first is what happened
        raise several.exceptions[0] from None


if __name__ == "__main__":
    with ending():
        sys.exit(main(sys.argv[1:]))
