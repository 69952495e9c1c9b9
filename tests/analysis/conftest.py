"""The rows of a plan of two tasks, five models and three ratios, and of a benchmark, whose last cells have not run."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.analysis.report import render_pool
from pipeline.analysis.report.render_pool import RenderPool
from pipeline.analysis.results import cell_table, costs, trial_table
from pipeline.analysis.statistics import task_scores
from pipeline.core import records as kept
from tests import fakes
from tests.analysis import made


@pytest.fixture(scope="session")
def drawing() -> Iterator[RenderPool]:
    with render_pool.open_render_pool() as opened:
        yield opened


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    fakes.write(root, [fakes.evaluation(*point) for point in fakes.grid()[:-1]])
    return root / "metrics" / "evaluate"


@pytest.fixture(scope="session")
def points() -> list[cell_table.CellCoordinates]:
    return [
        cell_table.CellCoordinates(
            cell := f"{task}-{model}-{ratio}-standard", task, model, ratio, "standard", f"evaluate@{cell}"
        )
        for task, model, ratio in fakes.grid()
    ]


@pytest.fixture(scope="session")
def rows(points: list[cell_table.CellCoordinates], records: Path) -> list[cell_table.CellRow]:
    planned = fakes.planned(points)
    scores = task_scores.estimate_by_task(trial_table.read_trials(points, records, planned))
    return cell_table.read_rows(points, records, planned, task_scores.collect_intervals(scores))


@pytest.fixture(scope="session")
def counted(rows: list[cell_table.CellRow]) -> list[cell_table.CellRow]:
    """Return the rows with FLOPs in proportion to size and data, some of the last to 95%."""
    found = []
    for row in rows:
        if row.score is not None:
            done = 6.0 * row.parameters_non_embedding * 30 * row.train_examples
            row = replace(
                row, train_flops=done, train_seconds=done / 1e11, flops_to_95pct=done / 4,
                seconds_to_95pct=done / 4e11, examples_to_95pct=row.train_examples / 4,
            )  # fmt: skip
        found.append(row)
    return found


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[costs.CellCost]:
    """Return one process and two of a model, one of another, and a cell that has not run."""
    folder = tmp_path_factory.mktemp("metrics") / "benchmark"
    folder.mkdir()
    made_up = [made.alone(), made.several(), made.alone("bert-mini", 4, 256)]
    for record in made_up:
        (folder / f"{record['cell']}.json").write_text(json.dumps(kept.sign(record)))
    cells = [*(record["cell"] for record in made_up), "bert-mini-2-1-bf16-32"]
    return costs.read_costs([(cell, f"benchmark@{cell}") for cell in cells], folder, made.planned(made_up))
