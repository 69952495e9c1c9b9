"""Tracking in MLflow: cells and trials are logged by the store's thread, so that no trial waits for the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking import trial_files
from pipeline.tracking.base import SyncCounts, TrialTracker
from pipeline.tracking.identity import Identity
from pipeline.tracking.mlflow import outage, ownership, run_artifacts, runs, store, views
from pipeline.tracking.mlflow.resource_sampler import ResourceSampler
from pipeline.tracking.mlflow.runs import to_ms

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class MLflowTracker:
    """Implementation of ``Tracker``; the reference of a cell is the path of the file that contains its run id."""

    def open_sweep(self, folder: Path) -> None:
        """Declare that this process closes the cells of the sweep in ``folder``, whose lock it holds."""
        ownership.add_own_sweep(folder)

    def open_cell(self, identity: Identity, folder: Path) -> str:
        """Start the parent run of a cell; return the file in ``folder`` into which its id is written."""
        cell, start = folder / f"{identity.cell}.run", to_ms(time.time())
        store.get_store().submit(lambda client: _get_cell_run(client, identity, cell, start))
        return str(cell)

    def open_trial(self, identity: Identity, seed: int, cell: str | None, folder: Path) -> TrialTracker:
        """Start the child run of one seed and follow the files in ``folder``; sample the machine there."""
        trial = LiveTrial(identity, seed, None if cell is None else Path(cell), folder, time.time())
        trial.start_sampling()
        return trial

    def log_finished_trial(self, identity: Identity, seed: int, cell: str | None, folder: Path) -> None:
        """Log a trial that an earlier process finished, from its files in ``folder``."""
        if cell is None:
            return
        result = trial_files.read_result(folder) | {"seed": seed}
        end = (folder / trial_files.RESULT).stat().st_mtime
        trial = LiveTrial(identity, seed, Path(cell), folder, end - float(result.get("trial_seconds") or 0.0))
        trial.finish(result, trial_files.list_artifacts(identity, seed, folder), end)

    def close_cell(self, cell: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
        """Log means and intervals of a cell; its run replaces the cell's earlier runs."""

        def complete(client: MlflowClient, run: str) -> None:
            runs.complete_cell(client, run, record, artifacts)
            runs.replace_earlier_runs(client, run, record, Path(str(cell)).parent)
            outage.remove_note()

        _end_cell(cell, complete)

    def fail_cell(self, cell: str | None) -> None:
        """End the parent run of a cell without a result; the cell's earlier run stays."""
        _end_cell(cell, runs.fail_cell)

    def log_cell(self, record: dict[str, Any], artifacts: Iterable[Path]) -> None:
        """Log a whole cell that has no trials, and wait until the store has it."""
        with ownership.create_sweep() as folder:
            self.close_cell(self.open_cell(Identity.from_record(record), folder), record, artifacts)
            self.flush()

    def flush(self) -> None:
        """Wait, with a time limit, until the store has received everything from this process."""
        store.get_store().flush()

    def update_views(self) -> None:
        """Update the views that MLflow's UI opens on to the tasks that have results."""
        store.get_store().fetch(views.write_views)

    def get_address(self, stage: str, cell: str) -> str | None:
        """Return a URL that shows the active runs of a cell; None if the store is unreachable."""
        from pipeline.tracking.mlflow import ui

        return ui.get_cell_address(stage, cell)

    def sync(self, cells: Iterable[tuple[str, str]]) -> SyncCounts:
        """Make the store contain exactly the given cells (stage, name), from their files."""
        from pipeline.tracking.mlflow import sync

        return sync.sync(cells)

    def open_ui(self, port: int | None = None) -> None:
        """Serve MLflow's UI on this machine until interrupted, and print links into it."""
        from pipeline.tracking.mlflow import ui

        ui.serve(port)


def _get_cell_run(client: MlflowClient, identity: Identity, cell: Path, start: int) -> str:
    """Return the run id of a cell; the first process that needs the run creates it. ``start`` is in milliseconds."""
    from filelock import FileLock

    with FileLock(f"{cell}.lock"):
        if not cell.exists():
            run = runs.create_run(client, identity, cell.parent, name=identity.cell, start=start)
            cell.write_text(run, encoding="utf-8")
            runs.end_killed_runs(client, identity)
        return cell.read_text(encoding="utf-8")


def _end_cell(cell: str | None, action: Callable[[MlflowClient, str], None]) -> None:
    """Submit the last action on the run of a cell."""
    if cell is None:
        return
    file = Path(cell)

    def end(client: MlflowClient) -> None:
        if file.exists():  # otherwise no process could create the run
            action(client, file.read_text(encoding="utf-8"))

    store.get_store().submit(end)


class LiveTrial:
    """The child run of one seed, filled from the trial's files while they grow; see ``TrialTracker``.

    ``folder`` contains the curves and the resource samples. Without a ``cell`` nothing is logged.
    """

    def __init__(self, identity: Identity, seed: int, cell: Path | None, folder: Path, start: float) -> None:
        self.folder = folder
        self.run: Future[str | None] | None = None
        self._reader = trial_files.MetricReader(folder)
        self._sampler = ResourceSampler(folder / trial_files.RESOURCES, self._send_new_rows)
        if cell is None:
            return
        sweep, start_ms = cell.parent, to_ms(start)
        self._sweep, self._links = sweep, sweep / "shown" / f"{identity.cell}-{seed}"

        def create(client: MlflowClient) -> str:
            parent = _get_cell_run(client, identity, cell, start_ms)
            return runs.create_trial_run(client, identity, sweep, seed, parent, start_ms)

        self.run = store.get_store().submit(create)

    def start_sampling(self) -> None:
        """Sample the machine, and send new rows, in a thread until the trial ends."""
        self._sampler.start()

    def finish(self, result: dict[str, Any], artifacts: Iterable[Path] = (), end: float | None = None) -> None:
        """Log the final numbers and the files of the trial, and end its run; ``end`` is in seconds since the epoch.

        Raises OSError if the resource samples could not be written.
        """
        end = end or time.time()
        self._sampler.stop()
        if self._sampler.error is not None:
            raise self._sampler.error
        if self.run is None or store.get_store().is_unreachable:
            return
        self._send_new_rows(end)
        try:
            # Links, because the store may read them after DVC has moved the originals.
            links = run_artifacts.link_files(artifacts, self._links)
        except OSError as error:
            store.get_store().mark_unreachable(f"no space for {error.filename}: {error.strerror}")
            return
        steps = self._reader.last_steps
        self._submit(lambda client, run: runs.finish_trial(client, run, result, steps, links, end))
        self._wait_in_other_process()

    def fail(self, reason: str) -> None:
        """End the run as failed."""
        end = to_ms(time.time())
        self._sampler.stop()
        self._send_new_rows()
        self._submit(lambda client, run: runs.fail_trial(client, run, reason, end))
        self._wait_in_other_process()

    def _send_new_rows(self, now: float | None = None) -> None:
        if self.run is not None and not store.get_store().is_unreachable:
            points = runs.to_metrics(self._reader.read_new(now or time.time()))
            self._submit(lambda client, run: runs.log_batch(client, run, points))

    def _submit(self, action: Callable[[MlflowClient, str], None]) -> None:
        """Submit an action on the run; the store's thread has created the run before."""
        run = self.run
        if run is not None:
            store.get_store().submit(lambda client: action(client, str(run.result())))

    def _wait_in_other_process(self) -> None:
        """Wait for the store if this process may end before the cell; the process that closes the cell waits then."""
        if self.run is not None and not ownership.is_own_sweep(self._sweep):
            store.get_store().flush()
