"""Cells and trials as they happen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking import runs, store, views
from pipeline.tracking.identity import Identity
from pipeline.tracking.system import System

if TYPE_CHECKING:
    from mlflow.entities import Metric

FLUSH_SECONDS = 3.0


def open_cell(identity: Identity) -> str | None:
    """Start the parent run of a cell and return its id, or None where the store is away."""
    return store.current().attempt(lambda client: runs.create_run(client, identity, name=identity.cell))


def open_trial(identity: Identity, seed: int, parent: str | None, resources: Path | None = None) -> Trial:
    """Start the child run of one seed under ``parent``; without a parent the trial tells nobody.

    What the trial does to the machine is kept in ``resources`` in either case.
    """
    if parent is None:
        return Trial(None, resources)
    run = store.current().attempt(lambda client: runs.create_trial(client, identity, seed, parent))
    return Trial(run, resources)


def close_cell(run: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
    """Give the parent run its means and intervals; it takes the place of the cell's earlier runs."""
    if run is not None:
        store.current().attempt(lambda client: runs.complete(client, run, record, artifacts))
        store.current().attempt(lambda client: runs.replace_earlier(client, run, record))


def fail_cell(run: str | None) -> None:
    """End the parent run of a cell that has no result; the cell's earlier run stays."""
    if run is not None:
        store.current().attempt(lambda client: client.set_terminated(run, "FAILED"))


def refresh_views() -> None:
    """Bring the views that the store's UI opens on up to date with the tasks that have results."""
    store.current().attempt(views.publish)


class Trial:
    """The child run of one seed: takes points at any rate, and sends them in batches from a thread of its own.

    That thread watches the machine, too, and keeps what it sees in the file ``resources``, a sample a line.
    """

    def __init__(self, run: str | None, resources: Path | None = None) -> None:
        self.run = run
        self._points: list[Metric] = []
        self._last_steps: dict[str, int] = {}
        self._filling = threading.Lock()
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._watch, name="tracking", daemon=True)
        self._resources = resources
        if run is not None or resources is not None:
            self._system = System()
            self._beat.start()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one point to each named curve at ``step``."""
        if self.run is not None:
            self._last_steps |= dict.fromkeys(values, step)
            self._add(step, values, time.time())

    def finish(self, summary: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
        """Add the trial's final numbers and files, and end the run."""
        if self.run is None:
            return self._stop()
        run = self.run
        self._stop(runs.finals(summary, self._last_steps, time.time()))
        store.current().attempt(lambda client: runs.finish_trial(client, run, summary, artifacts))

    def fail(self, reason: str) -> None:
        """End the run as failed and say why."""
        self._stop()
        if self.run is None:
            return
        run = self.run
        store.current().attempt(lambda client: runs.fail(client, run, reason))

    def _add(self, step: int, values: dict[str, float], when: float) -> None:
        points = runs.as_metrics(step, values, when)
        with self._filling:
            self._points += points

    def _watch(self) -> None:
        """Sample the machine and flush, until the trial is over."""
        flushed, sample = time.monotonic(), 0
        while not self._over.wait(self._system.pause(sample)):
            self._sample(sample)
            sample += 1
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                self._flush()
                flushed = time.monotonic()
        self._sample(sample)  # even the shortest trial has one point

    def _sample(self, number: int) -> None:
        seen, when = self._system.read(), round(time.time(), 3)  # to the store's milliseconds, in the file as well
        if self._resources is not None:
            with self._resources.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": number, "time": when, **seen}) + "\n")
        self._add(number, seen, when)

    def _stop(self, last: Iterable[Metric] = ()) -> None:
        self._over.set()
        if self._beat.ident is not None:
            self._beat.join()
        self._points += last
        self._flush()

    def _flush(self) -> None:
        with self._filling:
            points, self._points = self._points, []
        run = self.run
        if run is None:
            return
        store.current().attempt(lambda client: runs.send(client, run, points))
