"""Run the plan by DVC with several parallel cells: ``lab run --jobs N``.

A `dvc repro` runs one stage at a time. Several of them, each with one stage of its own (``--single-item``) and the
patience to wait for the others' lock (``--wait-for-lock``), run as many, and DVC keeps its files in order. So cells
that train are given out in the order of what they need, to ``JOBS`` processes, forks of one that has imported DVC;
whatever measures comes afterwards, in one `dvc repro` with nothing beside it. The files are those of a plain
`dvc repro`, to the byte but for what a clock or the memory decides: how many threads a trial has stands in its
configuration, not in how many jobs there are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from graphlib import TopologicalSorter

from pipeline.plan import Cell, Plan
from pipeline.runner import dvc_process, plan_status
from pipeline.runner.run_progress import Board, Pace

FIRST = ("check", "code-digests", "source-digests")  # stages that each cell waits for
ALONE = ("evaluate", "benchmark")  # stages that measure
RUNNING = re.compile(r"Running stage '(?P<address>.+)':")
CHATTER = re.compile(
    r"(Running stage|Stage) '.*|> .*|(Updat|Generat)ing lock file '.*|Data and pipelines are up to date\.|"
    r"Use `dvc push`.*|To track the changes with git, run:|\s*git add .*|"
    r"To enable auto staging, run:|\s*dvc config core\.autostage true|ERROR: interrupted by the user|"
    r"ERROR: failed to reproduce '.*, exited with 130|"
)


async def reproduce(study: Plan, jobs: int) -> int:
    """Check the plan, run what is stale of it, ``jobs`` cells at a time, and return the status for the shell."""
    if status := await dvc_process.run(["repro", "--single-item", *FIRST], _without_chatter(print)):
        return status
    stale = await asyncio.to_thread(plan_status.stale_cells, study)  # or no signal was heard meanwhile
    cells = {cell.address: cell for cell in study.cells if cell.address in stale}
    beside = {address: cell for address, cell in cells.items() if jobs > 1 and cell.stage not in ALONE}
    with Board(Pace(study, cells.values(), beside, jobs)) as board:
        status = await _side_by_side(beside, jobs, board) or await _alone(board)
    return status


async def _side_by_side(cells: dict[str, Cell], jobs: int, board: Board) -> int:
    """Run cells in the order of what they need, the longest way to an end first; a failure lets none begin."""
    needs = {address: cells.keys() & set(cell.needs) for address, cell in cells.items()}
    order = TopologicalSorter(needs)
    order.prepare()
    ready: list[str] = []
    running: dict[asyncio.Task[int], str] = {}
    status = 0
    async with asyncio.TaskGroup() as group:
        while order.is_active():
            ready += order.get_ready()
            ranks = _ranks(needs, board.pace.expected)  # which what has ended may have changed
            ready.sort(key=lambda address: (ranks[address], address))
            while ready and len(running) < jobs and not status:
                address = ready.pop()
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
    return await dvc_process.run(["--wait-for-lock", "repro", "--single-item", address], _without_chatter(board.say))


async def _alone(board: Board) -> int:
    """Run all that is left, one stage after another, in one `dvc repro`."""
    at_work: list[str] = []
    others = _without_chatter(board.say)

    def say(line: str) -> None:
        if begins := RUNNING.fullmatch(line):
            for address in at_work:
                board.ends(address)
            at_work[:] = [begins["address"]]
            board.begins(begins["address"])
        else:
            others(line)

    status = await dvc_process.run(["repro"], say)
    for address in at_work:
        board.ends(address, well=not status)
    return status


def _without_chatter(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says a line, unless DVC tells how it is getting on: ``--quiet`` would hide its errors as well."""
    return lambda line: None if CHATTER.fullmatch(line) else say(line)
