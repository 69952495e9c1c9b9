"""The results of exactly the cells that the plan names, from ``metrics/``; what an earlier plan left is not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline import paths, plan

if TYPE_CHECKING:
    from pipeline.scaling.costs import Cost
    from pipeline.scaling.table import Point, Row
    from pipeline.scaling.trials import Trial

EVALUATED = "evaluate"


def rows() -> list[Row]:
    """Return a row for each cell that the plan evaluates, with holes where it has not run."""
    from pipeline.scaling import table

    return table.read(_points(), paths.metrics(EVALUATED, "").parent)


def holes() -> str:
    """Say which cells of the plan were evaluated once and do not count, and why; nothing where there is none."""
    from pipeline.scaling import table

    return table.holes(rows())


def trials() -> list[Trial]:
    """Return the trials of the cells that the plan evaluates and that have run."""
    from pipeline.scaling import trials

    return trials.read(_points(), paths.metrics(EVALUATED, "").parent)


def benchmarks() -> list[Cost]:
    """Return the costs of the cells that the plan benchmarks."""
    from pipeline.scaling import costs

    cells = [(cell.name, cell.address) for cell in plan.load().benchmarked()]
    return costs.read(cells, paths.metrics("benchmark", "").parent)


def _points() -> list[Point]:
    study = plan.load()
    return [_point(cell, asked.address) for cell, asked in zip(study.trained(), study.evaluated(), strict=True)]


def _point(cell: plan.Cell, address: str) -> Point:
    from pipeline.scaling.table import Point

    task, model, recipe = str(cell.task), str(cell.model), str(cell.recipe)
    return Point(
        cell.name, task, model, float(cell.ratio or 0), recipe, address,
        section=cell.section, source=cell.source, method=cell.method,
    )  # fmt: skip
