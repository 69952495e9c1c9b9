"""What sweeps leave, and who removes it."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.core import paths
from pipeline.execution import cell_run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what two sweeps have left: one has died, one is at work."""
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    for name in ("sweep-dead", "sweep-alive"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.lock").touch()
    return tmp_path


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_what_a_dead_sweep_left_is_removed_and_one_at_work_is_left_alone(cache: Path) -> None:
    with FileLock(cache / "sweep-alive.lock"):
        cell_run._remove_dead_sweeps()
        assert left(cache) == ["sweep-alive", "sweep-alive.lock"]


def test_a_sweep_that_ends_while_another_tidies_up_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = shutil.rmtree

    def ended(folder: Path, **given: bool) -> None:
        removed(folder, **given)
        folder.with_suffix(".lock").unlink()

    monkeypatch.setattr(cell_run.shutil, "rmtree", ended)
    cell_run._remove_dead_sweeps()
    assert left(cache) == []
