"""Protocol of a tracking backend.

A backend is a package ``pipeline/tracking/<name>/`` with a function ``create_tracker()``. Its methods never raise
because the store is unreachable, except ``sync`` and ``open_ui``, which raise UserError then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.tracking.identity import Identity


@dataclass
class SyncCounts:
    """Number of cells by what ``sync`` did with them."""

    created: int = 0
    present: int = 0
    waiting: int = 0
    retired: int = 0

    def __str__(self) -> str:
        return (
            f"{self.created} cells created, {self.present} already there, {self.waiting} not run yet, "
            f"{self.retired} older runs marked superseded"
        )


class TrialTracker(Protocol):
    """Logs a running trial from its files."""

    def finish(self, result: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
        """Log the final numbers and the files of the trial, and end its run.

        Raises OSError if the resource samples could not be written.
        """

    def fail(self, reason: str) -> None:
        """End the run as failed."""


class Tracker(Protocol):
    """Logs cells and trials, and synchronises a store with the files."""

    def open_sweep(self, folder: Path) -> None:
        """Declare that this process closes the cells of the sweep in ``folder``, whose lock it holds."""

    def open_cell(self, identity: Identity, folder: Path) -> str:
        """Start the run of a cell; return the reference by which the processes of the sweep name it."""

    def open_trial(self, identity: Identity, seed: int, cell: str | None, folder: Path) -> TrialTracker:
        """Start the run of one seed, whose curves appear in ``folder``, and sample the machine into ``folder``.

        Without a ``cell`` the machine is sampled and nothing is logged.
        """

    def log_finished_trial(self, identity: Identity, seed: int, cell: str | None, folder: Path) -> None:
        """Log a trial that an earlier process finished, from its files in ``folder``."""

    def close_cell(self, cell: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
        """Log means and intervals of a cell; its run replaces the cell's earlier runs."""

    def fail_cell(self, cell: str | None) -> None:
        """End the run of a cell without a result; the cell's earlier run stays."""

    def log_cell(self, record: dict[str, Any], artifacts: Iterable[Path]) -> None:
        """Log a whole cell that has no trials, and wait until the store has it."""

    def flush(self) -> None:
        """Wait, with a time limit, until the store has received everything from this process."""

    def update_views(self) -> None:
        """Update the saved views of the store's UI to the tasks that have results."""

    def get_address(self, stage: str, cell: str) -> str | None:
        """Return a URL that shows the active runs of a cell; None if the store is unreachable."""

    def sync(self, cells: Iterable[tuple[str, str]]) -> SyncCounts:
        """Make the store contain exactly the given cells (stage, name), from their files."""

    def open_ui(self, port: int | None = None) -> None:
        """Serve the store's UI on this machine until interrupted, and print links into it."""
