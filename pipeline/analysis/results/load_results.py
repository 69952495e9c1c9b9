"""Load the results of the plan's cells from ``metrics/``; outdated records do not count."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import plan
from pipeline.core import paths

if TYPE_CHECKING:
    from pipeline.analysis.results.cell_table import CellCoordinates, CellRow
    from pipeline.analysis.results.costs import CellCost
    from pipeline.analysis.results.trial_table import TrialResult
    from pipeline.analysis.statistics.task_scores import TaskScores

EVALUATE = "evaluate"


def load_rows(scores: Iterable[TaskScores]) -> list[CellRow]:
    """Return one row per evaluated cell, with a reason instead of numbers without a valid record.

    ``scores`` are those of the plan's tasks; cells missing there have no interval.
    """
    from pipeline.analysis.results import cell_table
    from pipeline.analysis.statistics import task_scores

    study = plan.load()
    return cell_table.read_rows(
        _list_points(study), _get_folder(EVALUATE), study.describe_cells(), task_scores.collect_intervals(scores)
    )


def load_notices() -> list[str]:
    """Return the problems of the records, one line each."""
    from pipeline.analysis.results import notices

    return notices.collect_notices(load_rows(()), load_costs())


def load_trials() -> list[TrialResult]:
    """Return the trials of the cells that the plan evaluates and whose records count."""
    from pipeline.analysis.results import trial_table

    study = plan.load()
    return trial_table.read_trials(_list_points(study), _get_folder(EVALUATE), study.describe_cells())


def load_costs() -> list[CellCost]:
    """Return the costs of the benchmarked cells."""
    from pipeline.analysis.results import costs

    study = plan.load()
    cells = [(cell.name, cell.address) for cell in study.benchmarked()]
    return costs.read_costs(cells, _get_folder("benchmark"), study.describe_cells())


def _get_folder(stage: str) -> Path:
    return paths.get_metrics_path(stage, "").parent


def _list_points(study: plan.Plan) -> list[CellCoordinates]:
    several = len(study.recipes) > 1
    pairs = zip(study.trained(), study.evaluated(), strict=True)
    return [_build_point(cell, evaluation.address, several) for cell, evaluation in pairs]


def _build_point(cell: plan.Cell, address: str, several_recipes: bool) -> CellCoordinates:
    from pipeline.analysis.results.cell_table import CellCoordinates

    task, model, recipe = str(cell.task), str(cell.model), str(cell.recipe)
    return CellCoordinates(
        cell.name, task, model, float(cell.ratio or 0), recipe, address,
        section=cell.section, source=cell.source, method=cell.method, several_recipes=several_recipes,
    )  # fmt: skip
