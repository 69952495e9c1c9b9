"""Expected seconds of cells: from their own last run, else from cells of the same model or stage."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from pipeline.core import paths, records
from pipeline.plan import Cell, Plan


class CellDurations:
    """Seconds of the cells that ran, by cell, model and stage; ``add`` extends them while a plan runs."""

    def __init__(self, study: Plan) -> None:
        self._by_cell: dict[str, float] = {}
        self._by_model: dict[tuple[str, str | None], list[float]] = defaultdict(list)
        self._by_stage: dict[str, list[float]] = defaultdict(list)
        for cell, trial_seconds in read_trial_seconds(study).items():
            self.add(cell, trial_seconds * len(study.seeds if cell.ratio else [0]))

    def add(self, cell: Cell, seconds: float) -> None:
        """Add the seconds of a cell that has ended."""
        self._by_cell[cell.address] = seconds
        if cell.ratio:
            self._by_model[cell.stage, cell.model].append(seconds / get_relative_cost(cell))
        self._by_stage[cell.stage].append(seconds / get_relative_cost(cell))

    def estimate(self, cell: Cell) -> tuple[float | None, str]:
        """Return the expected seconds of all trials of a cell, and what they derive from.

        That is its own last run; else the median of the model, or of the stage, in proportion to the ratio; else None.
        """
        if cell.address in self._by_cell:
            return self._by_cell[cell.address], "itself"
        if peers := self._by_model.get((cell.stage, cell.model)):
            return median(peers) * get_relative_cost(cell), "same model"
        if peers := self._by_stage.get(cell.stage):
            return median(peers) * get_relative_cost(cell), "same stage"
        return None, ""


def get_relative_cost(cell: Cell) -> float:
    """Return the factor of a cell's seconds: its ratio if it trains on a part of the rows, else 1."""
    return cell.ratio if cell.stage == "finetune" and cell.ratio else 1.0


def read_trial_seconds(study: Plan) -> dict[Cell, float]:
    """Return the mean seconds of a trial in the last run of each cell, from its record.

    A record with other coordinates than the cell's is not used; one with other seeds is.
    """
    planned, seconds = study.describe_cells(), {}
    for cell in study.cells:
        file = paths.get_metrics_path(cell.stage, cell.name)
        if not file.exists():
            continue
        record = records.read_record(file)
        if not records.compare_with_plan(record, f"{cell.stage}/{cell.name}", planned, seeds=False):
            seconds[cell] = float(record["summary"]["trial_seconds"]["mean"])
    return seconds
