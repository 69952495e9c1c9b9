"""Progress of a run over all cells of the plan: a bar on a terminal, a line for each finished cell elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class RunProgress:
    """Count cells as running, done or failed, and estimate the time left.

    ``weights`` are the expected seconds of each cell, in any unit: once a cell has ended, the elapsed time scales them.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.running: dict[str, float] = {}
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._started = time.monotonic()
        self._last_line = ""
        self._lock = threading.Lock()
        self._bar = Progress(
            BarColumn(bar_width=12),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            disable=not (sys.stderr.isatty() and weights),
        )
        self._task = self._bar.add_task("", total=sum(weights.values()))

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is not None or self.failed:
            print(f"{self.describe()}; run the same command again to continue", file=sys.stderr, flush=True)

    def start_cell(self, address: str) -> None:
        """Count a stage as running."""
        self.running[address] = time.monotonic()
        self._update()

    def end_cell(self, address: str, failed: bool = False) -> float:
        """Count a stage as done or failed, and return its seconds."""
        seconds = time.monotonic() - self.running.pop(address)
        (self.failed if failed else self.done).add(address)
        self._update()
        if self._bar.disable and address in self.weights:
            print(f"[{self.describe()}]", flush=True)
        return seconds

    def print_line(self, line: str) -> None:
        """Print a line of a stage; one that several stages print at once, such as at Ctrl-C, is printed once."""
        with self._lock:
            if line != self._last_line:
                print(line, flush=True)
            self._last_line = line

    def describe(self) -> str:
        """Return the counts, the rate and the time left as text."""
        done = self.weights.keys() & self.done
        failed = f", {len(self.failed)} failed" if self.failed else ""
        minutes = (time.monotonic() - self._started) / 60
        rate = f", {len(done) / minutes:.1f} a minute" if done and minutes else ""
        return (
            f"{len(done)} of {len(self.weights)} cells done, {len(self.running)} running{failed}{rate}, "
            f"about {format_seconds(self.estimate_seconds_left())} left"
        )

    def estimate_seconds_left(self) -> float:
        """Return the expected seconds of the cells that have not ended."""
        ended = sum(self.weights.get(address, 0) for address in self.done | self.failed)
        left = sum(self.weights.values()) - ended
        return left * (time.monotonic() - self._started) / ended if ended else left

    def _update(self) -> None:
        names = ", ".join(address.rpartition(":")[2] for address in self.running)
        completed = sum(self.weights.get(address, 0) for address in self.done)
        self._bar.update(self._task, completed=completed, description=": ".join(filter(None, [self.describe(), names])))


def format_seconds(seconds: float) -> str:
    """Return seconds as ``[h:]mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
