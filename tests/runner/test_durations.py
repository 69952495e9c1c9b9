"""Expected seconds of cells, from stored records and from the cells of this run."""

from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.plan import Cell, Plan
from pipeline.runner.durations import CellDurations
from tests import fakes

PLAN = Plan(("mrpc",), ("bert-tiny", "bert-mini"), (0.5, 1.0), ("standard",), (0, 1), fakes.NO_BENCHMARK)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def estimate(cell: Cell) -> tuple[float | None, str]:
    return CellDurations(PLAN).estimate(cell)


def test_seconds_are_those_of_the_cell_itself_or_of_its_model_in_proportion_to_the_ratio(root: Path) -> None:
    cells = {cell.address: cell for cell in PLAN.cells}
    half, full = (cells[f"finetune@mrpc-bert-tiny-{ratio}-standard"] for ratio in PLAN.ratios)
    assert estimate(half) == (None, "")
    fakes.write(root, [fakes.finetuning("mrpc", "bert-tiny", 0.5)])
    assert estimate(half) == (8.0, "itself")  # two seeds of four seconds
    assert estimate(full) == (16.0, "same model")
    assert estimate(cells["finetune@mrpc-bert-mini-1.0-standard"]) == (16.0, "same stage")


def test_seconds_of_a_record_of_other_coordinates_are_not_used(root: Path) -> None:
    half = next(cell for cell in PLAN.cells if cell.stage == "finetune")
    fakes.write(root, [fakes.finetuning("mrpc", "bert-tiny", 0.5) | {"recipe": "patient"}])
    assert estimate(half) == (None, "")


def test_seconds_of_a_record_of_other_seeds_are_used(root: Path) -> None:
    half = next(cell for cell in PLAN.cells if cell.stage == "finetune")
    fakes.write(root, [fakes.finetuning("mrpc", "bert-tiny", 0.5, seeds=(7,))])
    assert estimate(half) == (8.0, "itself")


def test_a_cell_of_this_run_replaces_its_record(root: Path) -> None:
    half = next(cell for cell in PLAN.cells if cell.stage == "finetune")
    fakes.write(root, [fakes.finetuning("mrpc", "bert-tiny", 0.5)])
    durations = CellDurations(PLAN)
    durations.add(half, 3.0)
    assert durations.estimate(half) == (3.0, "itself")
