"""Processes that render figures in parallel: vl-convert renders one figure at a time and starts slowly."""

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

MAX_PROCESSES = 4  # about 250 MiB each; a report has a dozen figures


@dataclass(frozen=True)
class RenderPool:
    """Processes that render figures, and the future of the script that a page needs to draw them."""

    processes: Executor
    library: Future[str]

    def save_figures(self, figures: Iterable[Figure], folder: Path, dpi: int) -> list[tuple[Figure, Path, Path]]:
        """Write figures as SVG and PNG in parallel; return each with its two paths, in order."""
        futures = [(one, self.processes.submit(figure.save_figure, one, folder, dpi)) for one in figures]
        return [(one, *future.result()) for one, future in futures]


@contextmanager
def open_render_pool() -> Iterator[RenderPool]:
    """Start the processes, which warm up at once; they are spawned because vl-convert does not survive a fork."""
    count = min(hardware.count_cores(), MAX_PROCESSES)
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=_init_process) as processes:
        library = processes.submit(html.load_library)
        for _ in range(count - 1):
            processes.submit(figure.load_renderer)
        yield RenderPool(processes, library)


def _init_process() -> None:
    """End with the parent process, which alone handles Ctrl-C."""
    parent_process.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
