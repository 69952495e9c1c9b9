"""Cells and trials as they happen, told by a thread of the store's own: no trial waits for a store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.mlflow import from_files, outage, ownership, run_artifacts, runs, store, views
from pipeline.tracking.mlflow.identity import Identity
from pipeline.tracking.mlflow.system_metrics import System

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

FLUSH_SECONDS = 3.0


def open_cell(identity: Identity, folder: Path) -> str:
    """Start the parent run of a cell and return the path of a note, in which the store's thread writes the run's id.

    The note lies in ``folder``, that of the cell's sweep, which all of its processes see.
    """
    note, start = folder / f"{identity.cell}.run", from_files.in_ms(time.time())
    store.current().tell(lambda client: _parent(client, identity, note, start))
    return str(note)


def open_trial(identity: Identity, seed: int, parent: str | None, resources: Path | None = None) -> Trial:
    """Start the child run of one seed under ``parent``, a cell's note; without a parent the trial tells nobody.

    What the trial does to the machine is kept in ``resources`` in either case, behind what stands there.
    """
    if parent is None:
        return Trial(None, None, resources)
    note, start = Path(parent), from_files.in_ms(time.time())
    run = store.current().tell(
        lambda client: runs.create_trial(
            client, identity, note.parent, seed, _parent(client, identity, note, start), start=start
        )
    )
    return Trial(run, note.parent / "shown" / f"{identity.cell}-{seed}", resources)


def tell_kept(identity: Identity, seed: int, parent: str | None, folder: Path) -> None:
    """Create the child run of a trial that an earlier process has finished, from the files in ``folder``."""
    if parent is None:
        return
    note, trial = Path(parent), folder / "trial.json"
    content, end = json.loads(trial.read_text(encoding="utf-8")) | {"seed": seed}, trial.stat().st_mtime
    store.current().tell(
        lambda client: from_files.tell_trial(
            client, identity, note.parent, content, _parent(client, identity, note, from_files.in_ms(end)), folder, end
        )
    )
    _leave(note.parent)


def close_cell(run: str | None, record: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
    """Give the parent run its means and intervals; it takes the place of the cell's earlier runs.

    ``settle`` waits until the store has heard that.
    """
    if run is not None:
        _end(Path(run), lambda client, parent: _complete(client, parent, Path(run).parent, record, artifacts))


def fail_cell(run: str | None) -> None:
    """End the parent run of a cell that has no result; the cell's earlier run stays."""
    if run is not None:
        _end(Path(run), lambda client, parent: runs.fail_cell(client, parent))


def tell_cell(record: dict[str, Any], artifacts: Iterable[Path]) -> None:
    """Tell a whole cell that has no trials."""
    with ownership.begun() as folder:
        close_cell(open_cell(Identity.from_record(record), folder), record, artifacts)
        settle()


def settle() -> None:
    """Wait until the store has heard all that this process has told it, but not for ever."""
    store.current().settle()


def refresh_views() -> None:
    """Bring the views that the store's UI opens on up to date with the tasks that have results."""
    store.current().ask(views.publish)


def _parent(client: MlflowClient, identity: Identity, note: Path, start: int) -> str:
    """Return the run of a cell, created by whichever process needs it first; ``start`` is in milliseconds."""
    from filelock import FileLock

    with FileLock(f"{note}.lock"):
        if not note.exists():
            run = runs.create_run(client, identity, note.parent, name=identity.cell, start=start)
            note.write_text(run, encoding="utf-8")
            runs.end_dead(client, identity)
        return note.read_text(encoding="utf-8")


def _complete(client: MlflowClient, run: str, folder: Path, record: dict[str, Any], artifacts: Iterable[Path]) -> None:
    runs.complete(client, run, record, artifacts)
    runs.replace_earlier(client, run, record, folder)
    outage.back()


def _end(note: Path, action: Callable[[MlflowClient, str], None]) -> None:
    """Let the last be done that is done with a cell's run."""

    def end(client: MlflowClient) -> None:
        if note.exists():  # else no process could create it
            action(client, note.read_text(encoding="utf-8"))

    store.current().tell(end)


def _leave(folder: Path) -> None:
    """Wait for the store where this process may end before the cell does: the one that closes it waits then."""
    if not ownership.is_closed_here(folder):
        store.current().settle()


class Trial:
    """The child run of one seed: takes points at any rate, and sends them in batches from a thread of its own.

    That thread watches the machine, too, and keeps what it sees in the file ``resources``, a sample a line.
    """

    def __init__(
        self, run: Future[str | None] | None, shown: Path | None = None, resources: Path | None = None
    ) -> None:
        self.run = run
        self._shown = shown  # where what it shows lies until the store has it
        self._points: list[Metric] = []
        self._last_steps: dict[str, int] = {}
        self._filling = threading.Lock()
        self._over = threading.Event()
        self._lost: OSError | None = None
        self._beat = threading.Thread(target=self._watch, name="tracking", daemon=True)
        self._resources = resources
        if run is not None or resources is not None:
            self._system = System()
            self._samples = self._continued()
            self._beat.start()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one point to each named curve at ``step``."""
        if self.run is not None:
            self._last_steps |= dict.fromkeys(values, step)
            self._add(step, values, time.time())

    def finish(self, summary: dict[str, Any], artifacts: Iterable[Path] = ()) -> None:
        """Add the trial's final numbers and files, and end the run.

        Raises OSError where what the machine did could not be kept.
        """
        now = time.time()
        self._stop(runs.finals(summary, self._last_steps, now) if self.run is not None else ())
        if self._lost is not None:
            raise self._lost
        if self._shown is None or store.current().is_away:
            return
        try:
            kept = run_artifacts.link(artifacts, self._shown)
        except OSError as error:
            return store.current().give_up(f"no room to show {error.filename}: {error.strerror}")
        self._tell(lambda client, run: runs.finish_trial(client, run, summary, kept, from_files.in_ms(now)))
        _leave(self._shown.parent.parent)

    def fail(self, reason: str) -> None:
        """End the run as failed and say why."""
        now = from_files.in_ms(time.time())
        self._stop()
        self._tell(lambda client, run: runs.fail(client, run, reason, now))
        if self._shown is not None:
            _leave(self._shown.parent.parent)

    def _continued(self) -> int:
        """Return how many samples ``resources`` holds, of a trial that goes on after it was killed; and tell them."""
        if self._resources is None or not self._resources.exists():
            return 0
        earlier = from_files.rows(self._resources)
        self._resources.write_text("".join(json.dumps(row) + "\n" for row in earlier), encoding="utf-8")
        for row in earlier:
            self._add(row.pop("step"), row, row.pop("time"))
        return len(earlier)

    def _add(self, step: int, values: dict[str, float], when: float) -> None:
        points = runs.as_metrics(step, values, when)
        with self._filling:
            self._points += points

    def _watch(self) -> None:
        """Sample the machine and flush, until the trial is over."""
        flushed, sample = time.monotonic(), 0
        try:
            while not self._over.wait(self._system.pause(sample)):
                self._sample()
                sample += 1
                if time.monotonic() - flushed >= FLUSH_SECONDS:
                    self._flush()
                    flushed = time.monotonic()
            self._sample()  # even the shortest trial has one point
        except OSError as error:  # no room for the file: the trial hears of it at its end
            self._lost = error

    def _sample(self) -> None:
        seen, when = self._system.read(), round(time.time(), 3)  # to the store's milliseconds, in the file as well
        if self._resources is not None:
            with self._resources.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self._samples, "time": when, **seen}) + "\n")
        self._add(self._samples, seen, when)
        self._samples += 1

    def _stop(self, last: Iterable[Metric] = ()) -> None:
        self._over.set()
        if self._beat.ident is not None:
            self._beat.join()
        self._points += last
        self._flush()

    def _flush(self) -> None:
        with self._filling:
            points, self._points = self._points, []
        self._tell(lambda client, run: runs.send(client, run, points))

    def _tell(self, action: Callable[[MlflowClient, str], None]) -> None:
        """Let the store's thread do something with the run; it has created it before."""
        created = self.run
        if created is not None:
            store.current().tell(lambda client: action(client, str(created.result())))
