"""The files of a trial from which its run is logged, live or later: curves, resource samples, results, artifacts."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.tracking.identity import Identity

CURVES, RESOURCES, RESULT, CONFIG = "curves.jsonl", "resources.jsonl", "trial.json", "config.yaml"


@dataclass(frozen=True)
class MetricRow:
    """Values of several metrics at one step; ``time`` is in seconds since the epoch."""

    step: int
    time: float
    values: dict[str, float]


class MetricReader:
    """Reads what was appended to the curves and the resource samples of a trial since the last call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[str, int] = {}
        self.last_steps: dict[str, int] = {}  # of each curve

    def read_new(self, time: float) -> list[MetricRow]:
        """Return the new rows; ``time`` is used for rows without a time."""
        curves = self._read_lines(CURVES)
        for row in curves:
            self.last_steps |= dict.fromkeys(row.keys() - {"step"}, row["step"])
        rows = [*curves, *self._read_lines(RESOURCES)]
        return [MetricRow(row.pop("step"), row.pop("time", time), row) for row in rows]

    def _read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the new complete lines of a file; a killed process may leave an incomplete one at the end."""
        path, offset = self._folder / name, self._offsets.get(name, 0)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offsets[name] = offset + len(complete) + len(newline)
        return [json.loads(line) for line in complete.splitlines()]


def read_result(folder: Path) -> dict[str, Any]:
    """Return the results of a finished trial, with the paths of its artifacts."""
    content: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return content


def list_artifacts(identity: Identity, seed: int, folder: Path) -> list[Path]:
    """Return the existing artifacts of a trial, whose records are in ``folder``, with its config and its results."""
    names = read_result(folder).get("artifacts", []) if (folder / RESULT).exists() else []
    home = paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration)
    artifacts = []
    for path in (paths.ROOT / name for name in names):
        with suppress(ValueError):  # an artifact outside the trial's folder, such as a model's
            path = folder / path.relative_to(home)
        artifacts.append(path)
    return [path for path in [*artifacts, folder / CONFIG, folder / RESULT] if path.exists()]
