"""compare: the evaluated and the benchmarked cells of the plan in tables, figures and a report.

``python -m pipeline.stages.compare --multirun +sweep=once`` writes ``report/`` and ``metrics/compare/plan.json``;
without a sweep it is an exploration (such as ``size=parameters``) and writes below ``runs/exploration/compare/``.
``python -m pipeline.stages.compare show`` prints the tables of the plan again and writes nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import paths, plan, warm
from pipeline.errors import UserError, ending, near

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.scaling.costs import Cost
    from pipeline.scaling.table import Point, Row

SIZES = ("parameters", "parameters_non_embedding")
CELL = "plan"


def compare(cfg: DictConfig) -> None:
    """Write the report and the comparison's record, and log both.

    Raises UserError where the configuration names no size that a row has.
    """
    from pipeline import tracking
    from pipeline.scaling import report

    if cfg.size not in SIZES:
        raise UserError(f"conf/compare.yaml: size: got {cfg.size!r}; {near(cfg.size, SIZES)}")
    rows, measured, exploration = results(), benchmarks(), bool(cfg.exploration)
    folder = paths.cell("compare", CELL, exploration=True) / "report" if exploration else paths.REPORT
    with paths.replacing(folder) as out:
        written = [path.relative_to(out) for path in report.write(rows, measured, out, cfg.size, cfg.dpi)]
    files = [folder / path for path in written]
    record = _record(rows, files, exploration)
    run = tracking.open_cell(tracking.Identity.from_record(record))
    path = paths.metrics("compare", CELL, exploration=exploration)
    paths.write_json(path, record)
    tracking.close_cell(run, record, [path, *files])
    tracking.refresh_views()
    if "MAKELEVEL" not in os.environ:  # `make repro` shows it last, whether this ran or was up to date
        _print(rows, measured, folder)


def results() -> list[Row]:
    """Return a row for exactly the cells that the plan evaluates; what an earlier plan left behind is not looked at."""
    from pipeline.scaling import table

    study = plan.load()
    points = [_point(cell, asked.address) for cell, asked in zip(study.trained(), study.evaluated(), strict=True)]
    return table.read(points, paths.metrics("evaluate", CELL).parent)


def benchmarks() -> list[Cost]:
    """Return the costs of exactly the cells that the plan benchmarks."""
    from pipeline.scaling import costs

    cells = [(cell.name, cell.address) for cell in plan.load().benchmarked()]
    return costs.read(cells, paths.metrics("benchmark", CELL).parent)


def _point(cell: plan.Cell, address: str) -> Point:
    from pipeline.scaling.table import Point

    task, model, recipe = str(cell.task), str(cell.model), str(cell.recipe)
    return Point(
        cell.name, task, model, float(cell.ratio or 0), recipe, address,
        section=cell.section, source=cell.source, method=cell.method,
    )  # fmt: skip


def show() -> None:
    """Print the plan's tables, where its report lies, and how to browse every run."""
    _print(results(), benchmarks(), paths.REPORT)


def _print(rows: list[Row], measured: list[Cost], folder: Path) -> None:
    from pipeline.scaling import terminal

    terminal.show(rows, measured)
    page = folder / "index.html"
    if page.exists():
        print(f"report:   {page}")
    print("all runs: make ui (or python -m pipeline.tracking ui)", flush=True)


def _record(rows: list[Row], files: list[Path], exploration: bool) -> dict[str, Any]:
    """Return the comparison in the form of every cell's record; it has no trials of its own."""
    from pipeline import origins, records

    done = [row for row in rows if row.score is not None]
    counts = {
        "cells": len(rows),
        "cells_without_results": len(rows) - len(done),
        "cells_above_majority": sum(row.above_majority == "yes" for row in done),
        "collapsed_trials": sum(row.collapsed or 0 for row in done),
    }
    numbers = [path.read_bytes() for path in files if path.suffix == ".csv"]
    digest = hashlib.sha256(b"".join(numbers)).hexdigest()
    return {
        "schema": records.SCHEMA,
        "stage": "compare",
        "cell": CELL,
        "exploration": exploration,
        "trials": [],
        "summary": {name: records.interval([float(count)]) for name, count in counts.items()},
        "inputs": {},
        "tags": {"git_commit": origins.commit(), "inputs_sha256": digest},
        "machine": {},
        "artifacts": [str(path.relative_to(paths.ROOT)) for path in files],
    }


def main() -> None:
    """Compare as a Hydra app."""
    import hydra

    mistakes: list[UserError] = []

    def job(cfg: DictConfig) -> None:
        try:
            compare(cfg)
        except UserError as error:  # Hydra would print where it was raised
            mistakes.append(error)

    hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="compare")(job)()
    for mistake in mistakes:
        raise mistake


def _command() -> None:
    with ending("compare: "):
        main()


if __name__ == "__main__":
    if sys.argv[1:] == ["show"]:
        with ending("compare: "):
            show()
    else:
        warm.call(_command)
