"""The cells of one sweep: opened by their first trial, closed together when the last one has ended.

Trials may run in other processes (any Hydra launcher), so what they tell lies in a folder that all of them see.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import distributed, paths, records
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.tracking import Identity

FOLDER = "LAB_SWEEP"  # the variable that names the folder to the trials
TWO_SETTINGS = (
    "got other settings than an earlier trial of this cell in the same sweep, and one would overwrite the other; "
    "name the cells apart, such as cell='${task.name}-${model.name}-${ratio}-${recipe.learning_rate}'"
)


class Sweep:
    """The folder in which the trials of one sweep leave word of their cells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls) -> Sweep:
        """Start a sweep in this process and name it to every process that comes from it."""
        paths.CACHE.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=paths.CACHE))
        os.environ[FOLDER] = str(folder)
        return cls(folder)

    @classmethod
    def ours(cls) -> bool:
        """Say whether this process works for a trial of a sweep that another process has opened."""
        return distributed.started() and FOLDER in os.environ

    @classmethod
    def current(cls) -> Sweep:
        """Return the sweep to which this trial belongs."""
        return cls(Path(os.environ[FOLDER]))

    def parent(self, identity: Identity) -> str | None:
        """Return the tracking run of the trial's cell, opened by whichever trial comes first.

        Raises UserError where that one had other settings: one would overwrite the other.
        """
        from filelock import FileLock

        from pipeline import tracking

        note = self.folder / f"{identity.cell}.json"
        with FileLock(note.with_suffix(".lock")):
            if note.exists():
                known = json.loads(note.read_text(encoding="utf-8"))
                if known["identity"]["tags"].get("inputs_sha256") != identity.tags.get("inputs_sha256"):
                    raise UserError(TWO_SETTINGS)
                run: str | None = known["run"]
                return run
            run = tracking.open_cell(identity)
            paths.write_json(note, {"run": run, "identity": dataclasses.asdict(identity), "seeds": []})
            return run

    def finished(self, identity: Identity, seed: int) -> None:
        """Note that a trial of the cell succeeded."""
        (self.folder / f"{identity.cell}.seed-{seed}").touch()

    def failed(self, cell: str) -> None:
        """Note that a trial of the cell failed."""
        (self.folder / f"{cell}.failed").touch()

    def close(self) -> bool:
        """Write the numbers of every cell whose trials all succeeded; return whether that was all of them."""
        from pipeline import tracking

        failures = list(self.folder.glob("*.failed"))
        for note in sorted(self.folder.glob("*.json")):
            content = json.loads(note.read_text(encoding="utf-8"))
            identity = tracking.Identity.from_dict(content["identity"])
            seeds = sorted(int(word.suffix.removeprefix(".seed-")) for word in self.folder.glob(f"{note.stem}.seed-*"))
            if seeds and not note.with_suffix(".failed").exists():
                record = summarise(identity, seeds)
                target = paths.metrics(identity.stage, identity.cell, exploration=identity.exploration)
                paths.write_json(target, record)
                tracking.close_cell(content["run"], record, [target])
                print(told(record), flush=True)
            else:
                tracking.fail_cell(content["run"])
        shutil.rmtree(self.folder)
        os.environ.pop(FOLDER, None)
        return not failures


def summarise(identity: Identity, seeds: list[int]) -> dict[str, Any]:
    """Return the record of a cell: its trials, and mean and 95% interval of every number over the seeds."""
    from pipeline import machine

    folders = [paths.trial(identity.stage, identity.cell, seed, exploration=identity.exploration) for seed in seeds]
    trials = [json.loads((folder / "trial.json").read_text(encoding="utf-8")) for folder in folders]
    for trial in trials:
        del trial["artifacts"]  # files of this folder, for the tracking store
    return {
        "schema": records.SCHEMA,
        "stage": identity.stage,
        "cell": identity.cell,
        "exploration": identity.exploration,
        **identity.params,
        "trials": trials,
        "summary": records.summary(trials),
        "inputs": {item.name: item.digest for item in identity.inputs},
        "tags": identity.tags,
        "machine": machine.describe(),
    }


def told(record: dict[str, Any]) -> str:
    """Return in one line what a cell came to: its score where it has one, and what its trials took."""
    summary, trials = record["summary"], record["trials"]
    parts = [f"{len(trials)} seed{'s' if len(trials) > 1 else ''} in {sum(t['trial_seconds'] for t in trials):.1f} s"]
    if score := summary.get("score"):
        bounds = "" if score["ci95_low"] is None else f" [{score['ci95_low']:.3f}, {score['ci95_high']:.3f}]"
        parts.append(f"score {score['mean']:.3f}{bounds}")
    return f"{record['stage']} {record['cell']}: {', '.join(parts)}"
