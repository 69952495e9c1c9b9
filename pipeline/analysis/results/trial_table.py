"""One row per trial of the evaluated cells, with all numbers and per-example predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.analysis.results.cell_table import CellCoordinates, format_machine
from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.evaluation import predictions

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("score", "score_name", "loss", "family", "predictions", "references")
COORDINATES = ("task", "model", "ratio", "recipe", "cell", "section", "source", "method")


@dataclass(frozen=True)
class TrialResult:
    """A cell at one seed: numbers and texts under the keys of its record (docs/metrics.md).

    ``predictions`` and ``references`` (examples,) are predicted and true labels of the report examples. ``alone``
    (examples,) are predictions of the same student trained without a teacher, None if it has none. ``machine``
    identifies the hardware of its times.
    """

    point: CellCoordinates
    numbers: dict[str, Any]
    predictions: np.ndarray
    references: np.ndarray
    alone: np.ndarray | None = None
    machine: str = field(default="", kw_only=True)

    @property
    def seed(self) -> int:
        """Return its seed."""
        return int(self.numbers["seed"])


def read_trials(points: Iterable[CellCoordinates], folder: Path, planned: records.Planned) -> list[TrialResult]:
    """Return the trials of each cell from its record in ``folder``, in the given order.

    A record that does not count (``records.missing_reason``) is left out. Raises UserError if a record is damaged, has
    another layout, lacks a key that a trial needs, or was evaluated on other examples than the rest of its task.
    """
    trials: list[TrialResult] = []
    first: dict[str, TrialResult] = {}
    for point in points:
        path = folder / f"{point.cell}.json"
        if records.missing_reason(path, planned):
            continue
        for trial in _read_record(point, path):
            known = first.setdefault(point.task, trial)
            if not np.array_equal(known.references, trial.references):
                raise UserError(
                    f"metrics/evaluate/{path.name}: judged on other examples than metrics/evaluate/"
                    f"{known.point.cell}.json, so the two cannot be compared; run `dvc repro`"
                )
            trials.append(trial)
    return trials


def _read_record(point: CellCoordinates, path: Path) -> list[TrialResult]:
    record = records.read_record(path, NEEDED)
    return [
        TrialResult(
            point,
            {name: value for name, value in trial.items() if name not in records.PER_EXAMPLE_KEYS},
            *(predictions.from_text(trial[name]) for name in records.PER_EXAMPLE_KEYS if name in trial),
            machine=format_machine(record["machine"]),
        )
        for trial in record["trials"]
    ]


def build_frame(trials: Sequence[TrialResult]) -> pd.DataFrame:
    """Return a row for each trial: its coordinates, then every number and text of its record; warnings as one text."""
    import pandas as pd

    rows = [{**{name: getattr(t.point, name) for name in COORDINATES}, **_flatten(t.numbers)} for t in trials]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(name for row in rows for name in row)) or [*COORDINATES])


def _flatten(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: " ".join(value) if isinstance(value, list) else value for name, value in numbers.items()}
