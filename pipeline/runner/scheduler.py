"""Run the plan by DVC with several parallel cells: ``lab run --jobs N``.

One `dvc repro` runs one stage at a time. So each cell that trains is one ``dvc --wait-for-lock repro --single-item``,
started once the cells that it needs have ended. Cells that measure run last, one at a time, in one `dvc repro`.
Files are byte-identical to those of a plain `dvc repro`, except for measured times and memory.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from graphlib import TopologicalSorter
from typing import Self

from pipeline.plan import Cell, Plan
from pipeline.runner import dvc_lock_repair, plan_status
from pipeline.runner.durations import CellDurations, get_relative_cost
from pipeline.runner.dvc_process import DvcProcesses
from pipeline.runner.run_progress import RunProgress

FIRST = ("check", "code-digests", "source-digests")  # every cell needs these
MEASURING = ("evaluate", "benchmark")  # stages that run alone
GUESS_SECONDS = 5.0  # of a cell on all rows, where no duration is known
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RUNNING = re.compile(r"Running stage '(?P<address>.+)':")
DVC_LINES = re.compile(
    r"(Running stage|Stage) '.*|> .*|(Updat|Generat)ing lock file '.*|Data and pipelines are up to date\.|"
    r"Use `dvc push`.*|To track the changes with git, run:|\s*git add .*|"
    r"To enable auto staging, run:|\s*dvc config core\.autostage true|ERROR: interrupted by the user|"
    r"ERROR: failed to reproduce '.*, exited with 130|"
)


def run_plan(study: Plan, jobs: int, keep_going: bool = False) -> int:
    """Run what is stale of a plan, ``jobs`` cells at a time, and return the exit status.

    After a failure no other cell starts; with ``keep_going`` all start that do not need a failed one.
    Raises SystemExit with the usual status at Ctrl-C, SIGTERM or SIGHUP, after the stages have saved their state.
    """
    dvc = DvcProcesses()
    try:
        with StopSignals() as signals:
            if status := dvc.run(["repro", "--single-item", *FIRST], _drop_dvc_lines(print)):
                return status
            return _PlanRun(study, jobs, keep_going, dvc, signals).run()
    except BaseException:
        dvc_lock_repair.repair_files()  # DVC may have been interrupted while it wrote its list of locks
        raise


class _PlanRun:
    """One run of the stale cells of a plan."""

    def __init__(self, study: Plan, jobs: int, keep_going: bool, dvc: DvcProcesses, signals: StopSignals) -> None:
        stale = plan_status.find_stale_cells(study)
        self.cells = {cell.address: cell for cell in study.cells if cell.address in stale}
        self.needs = {address: self.cells.keys() & set(cell.needs) for address, cell in self.cells.items()}
        self.jobs, self.keep_going, self.dvc, self.signals = jobs, keep_going, dvc, signals
        self.durations = CellDurations(study)
        self.progress = RunProgress(
            {a: self.estimate(a) / (jobs if c.stage not in MEASURING else 1) for a, c in self.cells.items()}
        )

    def run(self) -> int:
        with self.progress:
            status = self._run_training()
            if not status:
                return self._run_rest(["repro"])
            if self.keep_going and (rest := self._find_runnable()):
                self._run_rest(["repro", "--keep-going", "--single-item", *rest])
            return status

    def _run_training(self) -> int:
        """Run the cells that train, those first that the longest chain of others waits for."""
        needs = {address: need for address, need in self.needs.items() if self.cells[address].stage not in MEASURING}
        order = TopologicalSorter(needs)
        order.prepare()
        ready: list[str] = []
        running: dict[Future[int], str] = {}
        status = 0
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while order.is_active():
                    ready += order.get_ready()
                    chains = compute_chains(needs, self.estimate)
                    ready.sort(key=lambda address: (chains[address], address))
                    while ready and len(running) < self.jobs and (self.keep_going or not status):
                        address = ready.pop()
                        self.progress.start_cell(address)
                        with self.signals.hold():  # the pool does not wait for a thread whose start was interrupted
                            running[pool.submit(self._run_cell, address)] = address
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        address, result = running.pop(future), future.result()
                        seconds = self.progress.end_cell(address, failed=bool(result))
                        status = status or result
                        if not result:
                            self.durations.add(self.cells[address], seconds)
                            order.done(address)
            except BaseException:
                self.dvc.stop()
                raise
        return status

    def _run_cell(self, address: str) -> int:
        words = ["--wait-for-lock", "repro", "--single-item", address]
        return self.dvc.run(words, _drop_dvc_lines(self.progress.print_line))

    def _run_rest(self, words: list[str]) -> int:
        """Run what is left, one stage after the other, in one `dvc repro`."""
        current: list[str] = []
        print_other = _drop_dvc_lines(self.progress.print_line)

        def follow(line: str) -> None:
            if match := RUNNING.fullmatch(line):
                for address in current:
                    self.progress.end_cell(address)
                current[:] = [match["address"]]
                self.progress.start_cell(match["address"])
            else:
                print_other(line)

        status = self.dvc.run(words, follow)
        for address in current:
            self.progress.end_cell(address, failed=bool(status))
        return status

    def _find_runnable(self) -> list[str]:
        """Return the cells that have not run and need none that failed, in story order."""
        runnable: list[str] = []
        for address in TopologicalSorter(self.needs).static_order():
            if address not in self.progress.done | self.progress.failed and self.needs[address] <= (
                self.progress.done | set(runnable)
            ):
                runnable.append(address)
        return runnable

    def estimate(self, address: str) -> float:
        cell: Cell = self.cells[address]
        seconds = self.durations.estimate(cell)[0]
        return GUESS_SECONDS * get_relative_cost(cell) if seconds is None else seconds


def compute_chains(needs: dict[str, set[str]], estimate: Callable[[str], float]) -> dict[str, float]:
    """Return for each cell the seconds of the longest chain of cells that starts with it."""
    chains = {address: estimate(address) for address in needs}
    for address in reversed([*TopologicalSorter(needs).static_order()]):
        for source in needs[address]:
            chains[source] = max(chains[source], estimate(source) + chains[address])
    return chains


class StopSignals:
    """Raise SystemExit in the main thread at the first signal that asks to stop; later ones are ignored."""

    def __init__(self) -> None:
        self._received = 0
        self._held = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Raise SystemExit only after this block if a signal arrives in it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._received:
            raise SystemExit(128 + self._received)

    def _receive(self, number: int, _: object) -> None:
        if not self._received:
            self._received = number
            if not self._held:
                raise SystemExit(128 + number)


def _drop_dvc_lines(print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that prints a line unless it is DVC's own progress; ``--quiet`` would hide errors as well."""
    return lambda line: None if DVC_LINES.fullmatch(line) else print_line(line)
