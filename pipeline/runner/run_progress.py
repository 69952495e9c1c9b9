"""How far a plan has come: one line of progress for all of its cells, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from statistics import median
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from pipeline.plan import Cell, Plan
from pipeline.runner import plan_status

GUESS_SECONDS = 5.0  # of a cell of all rows of which nothing is known
Kind = tuple[object, ...]


def _alike(cell: Cell) -> Kind:
    return cell.stage, cell.model, cell.ratio


def _kinds(cell: Cell) -> list[Kind]:
    """Return what cells that take as long have in common, from the likest to any at all."""
    return [_alike(cell), (cell.stage, cell.ratio), (cell.stage,), ()]


class Pace:
    """What cells take: by those of this run that are alike, else by the run before, else by others, else a guess.

    ``beside`` are the addresses of the cells that run side by side, ``jobs`` at a time.
    """

    def __init__(self, study: Plan, cells: Iterable[Cell], beside: Collection[str], jobs: int) -> None:
        self.cells = {cell.address: cell for cell in cells}
        self.beside, self.jobs = beside, jobs
        known = plan_status.known_seconds(study)
        self._before = {name: plan_status.expected_seconds(cell, study, known)[0] for name, cell in self.cells.items()}
        self._took: dict[Kind, list[float]] = defaultdict(list)
        self._slower: dict[str, list[float]] = defaultdict(list)  # of each stage, than the run before

    def took(self, address: str, seconds: float) -> None:
        """Learn what a cell took."""
        if cell := self.cells.get(address):
            for kind in _kinds(cell):
                self._took[kind].append(seconds)
            if before := self._before[address]:
                self._slower[cell.stage].append(seconds / before)

    def expected(self, address: str) -> float:
        """Return the seconds that a cell is expected to take."""
        cell = self.cells[address]
        if known := self._took[_alike(cell)]:
            return median(known)
        if (before := self._before[address]) is not None:
            return before * median(self._slower[cell.stage] or [1.0])
        for kind in _kinds(cell):
            if known := self._took[kind]:
                return median(known)
        return GUESS_SECONDS * plan_status.share(cell)

    def left(self, waiting: Iterable[str]) -> float:
        """Return the seconds that cells are expected to take together."""
        return sum(self.expected(address) / (self.jobs if address in self.beside else 1) for address in waiting)


class Board:
    """The one display of a run: a bar on a terminal, plain lines elsewhere; what the cells say stands above it."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.running: dict[str, float] = {}
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._last = ""
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty() and pace.cells:
            self._bar = tqdm(
                total=len(pace.cells),
                dynamic_ncols=True,
                leave=False,
                bar_format="{percentage:3.0f}%|{bar:12}| {desc}",
            )

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is not None or self.failed:
            print(f"{self.counts()}; the same command goes on from there", file=sys.stderr, flush=True)

    def begins(self, address: str) -> None:
        """Count a stage as at work."""
        self.running[address] = time.monotonic()
        if self._bar is not None:
            self._draw(self._bar)

    def ends(self, address: str, well: bool = True) -> None:
        """Count a stage as done, or as failed."""
        self.pace.took(address, time.monotonic() - self.running.pop(address))
        (self.done if well else self.failed).add(address)
        if self._bar is not None:
            self._draw(self._bar)
        elif address in self.pace.cells:
            print(f"[{self.counts()}]", flush=True)

    def say(self, line: str) -> None:
        """Print a line that a stage said; what several say at once, such as at Ctrl-C, is printed once."""
        if line != self._last:
            with tqdm.external_write_mode() if self._bar is not None else nullcontext():
                print(line, flush=True)
        self._last = line

    def counts(self) -> str:
        """Return in words how far the plan has come."""
        cells = self.pace.cells.keys()
        failed = f", {len(self.failed)} failed" if self.failed else ""
        left = tqdm.format_interval(self.pace.left(cells - self.done - self.failed))
        done = f"{len(cells & self.done)} of {len(cells)} cells done"
        return f"{done}, {len(self.running)} at work{failed}, about {left} left"

    def _draw(self, bar: tqdm[NoReturn]) -> None:
        bar.n = len(self.done & self.pace.cells.keys())
        names = ", ".join(address.rpartition(":")[2] for address in self.running)
        bar.set_description_str(f"{self.counts()}: {names}" if names else self.counts())
