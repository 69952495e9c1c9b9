"""The rows of a plan of two tasks, five models and three ratios whose last cell has not run."""

from pathlib import Path

import pytest

from pipeline.scaling import table
from tests import fakes


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    fakes.write(root, [fakes.evaluation(*point) for point in fakes.grid()[:-1]])
    return root / "metrics" / "evaluate"


@pytest.fixture(scope="session")
def points() -> list[table.Point]:
    return [
        table.Point(cell := f"{task}-{model}-{ratio}", task, model, ratio, "standard", f"evaluate@{cell}")
        for task, model, ratio in fakes.grid()
    ]


@pytest.fixture(scope="session")
def rows(points: list[table.Point], records: Path) -> list[table.Row]:
    return table.read(points, records)
