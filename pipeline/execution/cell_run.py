"""The cells of one sweep: opened by their first trial, closed together when the last one has ended.

Trials may run in other processes (any Hydra launcher), so what they tell lies in a folder that all of them see.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.execution import trial_cache
from pipeline.system import distributed

if TYPE_CHECKING:
    from filelock import FileLock

    from pipeline.tracking import Identity

FOLDER = "LAB_SWEEP"  # the variable that names the folder to the trials
TWO_SETTINGS = (
    "got other settings than an earlier trial of this cell in the same sweep, and one would overwrite the other; "
    "name the cells apart, such as cell='${task.name}-${model.name}-${ratio}-${recipe.learning_rate}'"
)


class Sweep:
    """The folder in which the trials of one sweep leave word of their cells."""

    def __init__(self, folder: Path, lock: FileLock | None = None) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(cls) -> Sweep:
        """Start a sweep in this process and name it to every process that comes from it."""
        from filelock import FileLock

        from pipeline.tracking import get_tracker

        paths.CACHE.mkdir(exist_ok=True)
        _tidy()
        trial_cache.tidy()
        folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
        get_tracker().open_sweep(folder)
        os.environ[FOLDER] = str(folder)
        return cls(folder, lock)

    @classmethod
    def is_member(cls) -> bool:
        """Say whether this process works for a trial of a sweep that another process has opened."""
        return distributed.is_distributed() and FOLDER in os.environ

    @classmethod
    def current(cls) -> Sweep:
        """Return the sweep to which this trial belongs."""
        return cls(Path(os.environ[FOLDER]))

    def open_cell(self, identity: Identity) -> str | None:
        """Return the tracking run of the trial's cell, opened by whichever trial comes first.

        Raises UserError where that one had other settings: one would overwrite the other.
        """
        from filelock import FileLock

        from pipeline.tracking import get_tracker

        note = self.folder / f"{identity.cell}.json"
        with FileLock(note.with_suffix(".lock")):
            if note.exists():
                known = json.loads(note.read_text(encoding="utf-8"))
                if known["identity"]["tags"].get("inputs_sha256") != identity.tags.get("inputs_sha256"):
                    raise UserError(TWO_SETTINGS)
                run: str | None = known["run"]
                return run
            run = get_tracker().open_cell(identity, self.folder)
            paths.write_json(note, {"run": run, "identity": dataclasses.asdict(identity), "seeds": []})
            return run

    def mark_finished(self, identity: Identity, seed: int) -> None:
        """Note that a trial of the cell succeeded, on this machine; it may have been stopped and begun again before."""
        from pipeline.system import hardware

        paths.write_json(self.folder / f"{identity.cell}.seed-{seed}", hardware.describe_machine())
        (self.folder / f"{identity.cell}.failed-{seed}").unlink(missing_ok=True)

    def mark_failed(self, cell: str, seed: int) -> None:
        """Note that a trial of the cell failed, or was stopped."""
        (self.folder / f"{cell}.failed-{seed}").touch()

    def close(self, seeds: int | None = None) -> bool:
        """Write the numbers of every cell of which all trials have ended well; return whether that was all of them.

        A cell that lacks one has no numbers: their mean would be another one. Of a sweep that was cut short only a cell
        with as many trials as the sweep has ``seeds`` is known to lack none. ``end`` is to follow.
        """
        from pipeline.tracking import Identity, get_tracker

        complete = not list(self.folder.glob("*.failed-*"))
        for note in sorted(self.folder.glob("*.json")):
            content = json.loads(note.read_text(encoding="utf-8"))
            identity = Identity.from_dict(content["identity"])
            words = self.folder.glob(f"{note.stem}.seed-*")
            ended = {int(word.suffix.removeprefix(".seed-")): json.loads(word.read_text("utf-8")) for word in words}
            failed = list(self.folder.glob(f"{note.stem}.failed-*"))
            if ended and not failed and seeds in (None, len(ended)):
                _record(identity, dict(sorted(ended.items())), content["run"])
            else:
                complete = False
                get_tracker().fail_cell(content["run"])
                print(_unfinished(identity, sorted(ended)), file=sys.stderr, flush=True)
        return complete

    def end(self) -> None:
        """Wait until the tracking store has heard all of the sweep, and forget it."""
        from pipeline.tracking import get_tracker

        get_tracker().flush()
        shutil.rmtree(self.folder)
        if self._lock:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
        os.environ.pop(FOLDER, None)


def _tidy() -> None:
    """Remove the folders of sweeps whose process died."""
    from filelock import FileLock, Timeout

    for left in paths.CACHE.glob("sweep-*.lock"):
        with suppress(Timeout), FileLock(left, blocking=False):
            shutil.rmtree(left.with_suffix(""), ignore_errors=True)
            left.unlink(missing_ok=True)  # a sweep that has just ended does the same


def _record(identity: Identity, machines: dict[int, dict[str, Any]], run: str | None) -> None:
    """Write the numbers of a cell that is complete, of which the machine of each seed is known, and tell them."""
    from pipeline.tracking import get_tracker

    record = make_record(identity, machines)
    target = paths.get_metrics_path(identity.stage, identity.cell, exploration=identity.exploration)
    paths.write_json(target, record)
    trial_cache.closed(paths.get_cell_dir(identity.stage, identity.cell, exploration=identity.exploration), target)
    get_tracker().close_cell(run, record, [target])
    print(format_result(record), flush=True)


def _unfinished(identity: Identity, seeds: list[int]) -> str:
    """Say what of a cell that has no numbers is safe."""
    safe = f"; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} will not be run again" if seeds else ""
    return f"{identity.stage} {identity.cell}: not finished, so it has no numbers{safe}"


def make_record(identity: Identity, machines: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a cell: its trials, and mean and deviation of every number over the seeds.

    ``machines`` describes that on which each seed's trial has run; where they differ, the record tells of all.
    """
    folders = [
        paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration) for seed in machines
    ]
    trials = [json.loads((folder / "trial.json").read_text(encoding="utf-8")) for folder in folders]
    for trial in trials:
        del trial["artifacts"]  # files of this folder, for the tracking store
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
        "machine": _joined(list(machines.values())),
    }
    return records.sign(record)


def _joined(machines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all of the machines have, and where they differ what each of them has."""
    return {
        key: value if all(each[key] == value for each in machines) else " / ".join({str(m[key]): 0 for m in machines})
        for key, value in machines[0].items()
    }


def format_result(record: dict[str, Any]) -> str:
    """Return in one line what a cell came to: its score where it has one, and what its trials took."""
    summary, trials = record["summary"], record["trials"]
    parts = [f"{len(trials)} seed{'s' if len(trials) > 1 else ''} in {sum(t['trial_seconds'] for t in trials):.1f} s"]
    if score := summary.get("score"):
        deviation = "" if score["std"] is None else f" ± {score['std']:.3f}"
        parts.append(f"score {score['mean']:.3f}{deviation}")
    return f"{record['stage']} {record['cell']}: {', '.join(parts)}"
