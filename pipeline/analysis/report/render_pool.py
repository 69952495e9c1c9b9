"""Processes that draw while this one reckons: vl-convert draws one thing at a time in each, and begins slowly."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pipeline.analysis.report import html
from pipeline.analysis.report.figures import figure
from pipeline.analysis.report.figures.figure import Figure
from pipeline.system import hardware, parent_process

MOST = 4  # processes, of some 250 MiB each; a report has a dozen figures


@dataclass(frozen=True)
class Studio:
    """What draws figures, and the script that they need in a page, which is on its way."""

    processes: Executor
    library: Future[str]

    def saved(self, figures: Iterable[Figure], folder: Path, dpi: int) -> list[tuple[Figure, Path, Path]]:
        """Write figures as SVG and PNG, side by side, each as soon as it is specified; return them, in order."""
        begun = [(one, self.processes.submit(figure.save, one, folder, dpi)) for one in figures]
        return [(one, *each.result()) for one, each in begun]


@contextmanager
def opened() -> Iterator[Studio]:
    """Yield a studio that begins to work at once, in processes that are no forks: what draws does not survive one."""
    count = min(hardware.count_cores(), MOST)
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin) as processes:
        library = processes.submit(html.library)
        for _ in range(count - 1):
            processes.submit(figure.begin)
        yield Studio(processes, library)


def _begin() -> None:
    """End with the process that asks, which is also the one that hears of a Ctrl-C."""
    parent_process.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
