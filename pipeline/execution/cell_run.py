"""One sweep: its cells, which the first trial opens and the last trial completes with a record.

Trials may run in other processes (any Hydra launcher), so their state is in a folder that all of them can read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.execution import trial_cache
from pipeline.system import distributed, machine_lock, preload

if TYPE_CHECKING:
    from filelock import FileLock

    from pipeline.tracking import Identity

FOLDER = "LAB_SWEEP"  # the environment variable with the folder of the sweep
SEED_COUNT = "seeds"  # the file with the number of seeds of each cell
TWO_SETTINGS = (
    "got other settings than an earlier trial of this cell in the same sweep, and one would overwrite the other; "
    "give each cell a name, such as cell='${task.name}-${model.name}-${ratio}-${recipe.name}-${recipe.learning_rate}'"
)


class Sweep:
    """The folder of one sweep. It holds ``<cell>.json``, and a file per finished and per failed trial."""

    def __init__(self, folder: Path, lock: FileLock | None = None) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(cls) -> Sweep:
        """Create the folder of a sweep, and pass it to child processes in the environment."""
        from filelock import FileLock

        from pipeline.tracking import get_tracker

        paths.CACHE.mkdir(exist_ok=True)
        _remove_dead_sweeps()
        trial_cache.remove_recorded()
        folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
        get_tracker().open_sweep(folder)
        os.environ[FOLDER] = str(folder)
        return cls(folder, lock)

    @classmethod
    def is_member(cls) -> bool:
        """Return whether this process runs a trial of a sweep that another process opened."""
        return distributed.is_distributed() and FOLDER in os.environ

    @classmethod
    def get_current(cls) -> Sweep:
        """Return the sweep of this trial."""
        return cls(Path(os.environ[FOLDER]))

    def write_seed_count(self, count: int) -> None:
        """Store how many seeds each cell of the sweep has."""
        (self.folder / SEED_COUNT).write_text(str(count))

    def open_cell(self, identity: Identity) -> str | None:
        """Return the tracking run of the trial's cell; the first trial opens it.

        Raises UserError where an earlier trial of the cell had other settings.
        """
        from filelock import FileLock

        from pipeline.tracking import get_tracker

        file = self.folder / f"{identity.cell}.json"
        with FileLock(file.with_suffix(".lock")):
            if file.exists():
                cell = json.loads(file.read_text(encoding="utf-8"))
                if cell["identity"]["tags"].get("inputs_sha256") != identity.tags.get("inputs_sha256"):
                    raise UserError(TWO_SETTINGS)
                run: str | None = cell["run"]
                return run
            run = get_tracker().open_cell(identity, self.folder)
            paths.write_json(file, {"run": run, "identity": dataclasses.asdict(identity), "seeds": []})
            return run

    def mark_finished(self, identity: Identity, seed: int) -> None:
        """Store that a trial succeeded, and on which machine; an earlier failure of it no longer counts."""
        from pipeline.system import hardware

        paths.write_json(self.folder / f"{identity.cell}.seed-{seed}", hardware.describe_machine())
        (self.folder / f"{identity.cell}.failed-{seed}").unlink(missing_ok=True)

    def mark_failed(self, cell: str, seed: int) -> None:
        """Store that a trial failed or was interrupted."""
        (self.folder / f"{cell}.failed-{seed}").touch()

    def write_records(self, *, is_whole: bool) -> bool:
        """Write the record of every cell whose trials all succeeded; return whether these are all cells.

        A sweep that is not whole was cut short, so only a cell with every seed of the sweep is complete.
        """
        from pipeline.tracking import Identity, get_tracker

        count_file = self.folder / SEED_COUNT
        seed_count = None if is_whole else int(count_file.read_text()) if count_file.exists() else 1
        is_complete = not list(self.folder.glob("*.failed-*"))
        for file in sorted(self.folder.glob("*.json")):
            cell = json.loads(file.read_text(encoding="utf-8"))
            identity = Identity.from_dict(cell["identity"])
            seed_files = self.folder.glob(f"{file.stem}.seed-*")
            machines = {int(each.suffix.removeprefix(".seed-")): json.loads(each.read_text()) for each in seed_files}
            failed = list(self.folder.glob(f"{file.stem}.failed-*"))
            if machines and not failed and seed_count in (None, len(machines)):
                _write_record(identity, dict(sorted(machines.items())), cell["run"])
            else:
                is_complete = False
                get_tracker().fail_cell(cell["run"])
                print(_format_unfinished(identity, sorted(machines)), file=sys.stderr, flush=True)
        return is_complete

    def close(self) -> None:
        """Wait until the tracking store has received everything, and remove the folder."""
        from pipeline.tracking import get_tracker

        get_tracker().flush()
        shutil.rmtree(self.folder)
        if self._lock:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        os.environ.pop(FOLDER, None)


@contextmanager
def open_sweep() -> Iterator[None]:
    """Open a sweep, and write the records of its cells at the end; do nothing where another process opened it.

    Raises SystemExit with status 1 where a cell is not complete.
    """
    if not distributed.is_rank_zero() or Sweep.is_member():
        yield
        return
    sweep, is_whole, is_complete = Sweep.open(), False, False
    try:
        yield
        is_whole = True
    finally:
        is_complete = sweep.write_records(is_whole=is_whole)
        # DVC can go on with the files before the tracking store has everything; a measurement cannot start yet.
        is_released = is_whole and is_complete and preload.release_client()
        with machine_lock.lock_shared() if is_released else nullcontext():
            sweep.close()
    if not is_complete:
        raise SystemExit(1)


def _remove_dead_sweeps() -> None:
    """Remove the folders of sweeps whose process died."""
    from filelock import FileLock, Timeout

    for file in paths.CACHE.glob("sweep-*.lock"):
        with suppress(Timeout), FileLock(file, blocking=False):
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
            file.unlink(missing_ok=True)  # a sweep that has just ended removes it as well


def _write_record(identity: Identity, machines: dict[int, dict[str, Any]], run: str | None) -> None:
    """Write the record of a complete cell, log it, and print its line; ``machines`` has one entry per seed."""
    from pipeline.tracking import get_tracker

    record = make_record(identity, machines)
    path = paths.get_metrics_path(identity.stage, identity.cell, exploration=identity.exploration)
    paths.write_json(path, record)
    cell = paths.get_cell_dir(identity.stage, identity.cell, exploration=identity.exploration)
    trial_cache.mark_recorded(cell, path)
    get_tracker().close_cell(run, record, [path])
    print(format_result(record), flush=True)


def _format_unfinished(identity: Identity, seeds: list[int]) -> str:
    saved = f"; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} will not run again" if seeds else ""
    return f"{identity.stage} {identity.cell}: not finished, so it has no record{saved}"


def make_record(identity: Identity, machines: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a cell: its trials, and mean and deviation of every number over the seeds.

    ``machines`` describes the machine of each seed; the record lists all values that differ.
    """
    folders = [
        paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration) for seed in machines
    ]
    trials = [json.loads((folder / "trial.json").read_text(encoding="utf-8")) for folder in folders]
    for trial in trials:
        del trial["artifacts"]  # files of this folder, which only the tracking store needs
    record = {
        "schema": records.SCHEMA,
        "stage": identity.stage,
        "cell": identity.cell,
        "exploration": identity.exploration,
        **identity.params,
        "trials": trials,
        "summary": records.compute_summary(trials),
        "inputs": {item.name: item.digest for item in identity.inputs},
        "tags": identity.tags,
        "machine": _merge_machines(list(machines.values())),
    }
    return records.sign(record)


def _merge_machines(machines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the description of several machines; values that differ are joined by `` / ``."""
    return {
        key: value if all(each[key] == value for each in machines) else " / ".join({str(m[key]): 0 for m in machines})
        for key, value in machines[0].items()
    }


def format_result(record: dict[str, Any]) -> str:
    """Return the result of a cell in one line: its seeds, their seconds, and the score if it has one."""
    summary, trials = record["summary"], record["trials"]
    parts = [f"{len(trials)} seed{'s' if len(trials) > 1 else ''} in {sum(t['trial_seconds'] for t in trials):.1f} s"]
    if score := summary.get("score"):
        deviation = "" if score["std"] is None else f" ± {score['std']:.3f}"
        parts.append(f"score {score['mean']:.3f}{deviation}")
    return f"{record['stage']} {record['cell']}: {', '.join(parts)}"
