"""The bytes that a plan will write are estimated before it runs, and refused where there is no room."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline import plan
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.plan import Plan, disk_space

WRITTEN = (
    410_854_930  # bytes that `dvc repro` of the shipped plan wrote: data, models, runs, DVC's cache, report, MLflow
)
SHIPPED = paths.ROOT


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the shipped plan in a project in which nothing has run."""
    found = plan.load(SHIPPED / "params.yaml")
    shutil.copytree(SHIPPED / "starter", tmp_path / "starter")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    return found


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, count))


def test_the_estimate_is_near_what_the_shipped_plan_wrote(study: Plan) -> None:
    found = disk_space.expected(study, study.cells)
    assert WRITTEN / 2 < found.needed < 2 * WRITTEN
    assert found.unknown == ()


def test_a_plan_that_does_not_fit_is_refused_before_any_work(
    study: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free(monkeypatch, 10**9)
    disk_space.check(study)
    free(monkeypatch, 10**8)
    with pytest.raises(UserError) as error:
        disk_space.check(study)
    needed = disk_space._format_bytes(disk_space.expected(study, study.cells).needed)
    assert str(error.value) == (
        f"the plan needs about {needed} (results of each seed below runs/ and again in DVC's cache), but 100 MB are "
        f"free in {tmp_path}; make room, or name fewer models, ratios or seeds in params.yaml, and run the same "
        "command again"
    )


def test_what_has_run_takes_what_it_took_and_needs_no_more_room(study: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = disk_space.expected(study, study.cells).needed
    for cell in study.cells:
        paths.get_cell_dir(cell.stage, cell.name).mkdir(parents=True)
    (cell,) = (cell for cell in study.cells if cell.address == "finetune@starter-swap-starter-2x64-0.1-standard")
    (paths.get_cell_dir(cell.stage, cell.name) / "weights").write_bytes(bytes(5_000_000))
    assert disk_space.expected(study, []).needed == 0
    one = disk_space.expected(study, [cell]).needed
    assert 5_000_000 < one < whole
    free(monkeypatch, 0)
    disk_space.check(study)


def test_a_model_of_the_hub_is_unknown_until_it_is_there(study: Plan, tmp_path: Path) -> None:
    assert disk_space.parameters("bert-tiny") is None
    assert disk_space.parameters("starter-4x128") == 916_826
    (tmp_path / "models/bert-tiny").mkdir(parents=True)
    weights = tmp_path / "models/bert-tiny/model.safetensors"
    weights.write_bytes(b"cut short")
    assert disk_space.parameters("bert-tiny") is None
    save_file({"w": torch.zeros(7, 11), "positions": torch.zeros(5, dtype=torch.int64)}, weights)
    assert disk_space.parameters("bert-tiny") == 77


def test_what_is_unknown_is_named() -> None:
    assert str(disk_space.Space(2_500_000, 3 * 10**9, ("bert-base",))) == (
        "about 2.5 MB to write, 3 GB free; nothing is known yet of the size of bert-base"
    )
    assert str(disk_space.Space(999, 4 * 10**12)) == "about 999 bytes to write, 4 TB free"


def test_weights_that_are_trained_here_are_told_by_their_settings(study: Plan) -> None:
    assert disk_space.parameters("starter-2x64-fresh") == pytest.approx(153_946, rel=0.2)
