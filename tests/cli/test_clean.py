"""``lab clean`` removes what stages wrote for cells that left the plan, and nothing else."""

import io
import json
import sys
from pathlib import Path

import pytest

from pipeline.cli import clean, main
from pipeline.core import checksums, paths
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.runner import dvc_lock_repair
from tests import fakes

PLAN = Plan(("mrpc",), ("bert-tiny",), (1.0,), ("standard",), (0, 1), fakes.NO_BENCHMARK)
OLD = "mrpc-bert-mini-1.0-standard"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with outputs of every cell of the plan and of the model bert-mini, which left it."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(dvc_lock_repair, "RWLOCK", tmp_path / ".dvc/tmp/rwlock")
    monkeypatch.setattr("pipeline.plan.load", lambda: PLAN)
    fakes.write(tmp_path, [fakes.finetuning("mrpc", model, 1.0) for model in ("bert-tiny", "bert-mini")])
    folders = [f"runs/finetune/mrpc-{model}-1.0-standard/seed-0" for model in ("bert-tiny", "bert-mini")]
    for folder in (*folders, "models/bert-tiny", "models/bert-mini", "data/mrpc"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "file").write_text("content")
        checksums.write_checksums(tmp_path / folder)
    (tmp_path / ".cache/trials/finetune" / OLD).mkdir(parents=True)
    return tmp_path


def list_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".dvc" not in path.parts}


def run_clean(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "clean", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code


def test_outputs_of_cells_that_left_the_plan_are_listed_and_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list_files(root)
    run_clean(monkeypatch, "--yes")
    out = capsys.readouterr().out
    removed = before - list_files(root)
    assert removed
    assert all("bert-mini" in name for name in removed)
    assert not any("bert-mini" in name for name in list_files(root))
    assert not list((root / ".cache/trials/finetune").iterdir())
    assert "models/bert-mini  0.0 MB\n" in out
    assert out.endswith("removed 4 outputs\n")
    run_clean(monkeypatch, "--yes")
    assert capsys.readouterr().out == "no outputs to remove: all belong to cells of the plan\n"


def test_without_a_terminal_and_without_yes_nothing_is_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    before = list_files(root)
    run_clean(monkeypatch)
    assert list_files(root) == before
    assert capsys.readouterr().out.endswith("nothing removed; add --yes to remove them without a prompt\n")


def test_files_of_a_user_stay(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "models/bert-mini/notes.txt").write_text("mine")
    for name in ("data/own/train.csv", "models/own/model.bin", "runs/finetune/own/notes.txt", "runs/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    (root / "metrics/finetune/own.json").write_text(json.dumps({"mine": 1}))
    (root / "elsewhere").mkdir()
    (root / "models/linked").symlink_to(root / "elsewhere")
    before = list_files(root)
    run_clean(monkeypatch, "--yes")
    assert all(name.startswith(("runs/finetune/mrpc", "metrics/finetune/mrpc")) for name in before - list_files(root))
    stays = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stays: ")]
    assert len(stays) == 6


def test_nothing_is_removed_while_dvc_runs_a_stage(root: Path) -> None:
    dvc_lock_repair.RWLOCK.parent.mkdir(parents=True)
    dvc_lock_repair.RWLOCK.write_text('{"write": {"runs/a": {"pid": 1, "cmd": "dvc repro"}}}')
    with pytest.raises(UserError, match="another `dvc` is running"):
        clean.remove([root / "models/bert-mini"])
    assert (root / "models/bert-mini").exists()
