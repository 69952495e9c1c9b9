"""Files that a killed DVC left half-written are repaired; complete files stay as they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.runner import dvc_lock_repair

LOCK = """schema: '2.0'
stages:
  plan:
    cmd: python -m pipeline.plan
    deps:
    - path: params.yaml
      md5: 5f6f7c0e2b1e8f4b6f0f6a5a3a0b4c1d
  prepare@mrpc:
    cmd: python -m pipeline.stages.prepare task=mrpc
    outs:
    - path: data/mrpc
      md5: 0f6f7c0e2b1e8f4b6f0f6a5a3a0b4c1d.dir
"""
FEWER = LOCK[: LOCK.index("  prepare@mrpc")]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which DVC has run two stages."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / ".cache/dvc.lock").write_text(FEWER)
    for name, value in {"ROOT": tmp_path, "CACHE": tmp_path / ".cache"}.items():
        monkeypatch.setattr(paths, name, value)
    monkeypatch.setattr(dvc_lock_repair, "RWLOCK", tmp_path / ".dvc/tmp/rwlock")
    return tmp_path


def test_a_lock_file_that_was_truncated_anywhere_can_be_read_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repaired = 0
    for length in range(len(LOCK)):
        (root / "dvc.lock").write_text(LOCK[:length])
        (root / ".cache/dvc.lock").write_text(FEWER)
        dvc_lock_repair.repair_files()
        found = (root / "dvc.lock").read_text()
        assert found in (LOCK[:length], FEWER)
        assert dvc_lock_repair._is_complete(root / "dvc.lock")
        message = capsys.readouterr().err
        if found == LOCK[:length]:
            assert message == ""
            continue
        repaired += 1
        assert message == (
            "dvc.lock was truncated when DVC was killed: repaired, with 1 stages; the truncated file is "
            ".cache/dvc.lock.broken, and finished cells come from DVC's cache\n"
        )
    assert repaired > 60
    (root / "dvc.lock").write_text(LOCK)
    dvc_lock_repair.repair_files()
    assert (root / "dvc.lock").read_text() == (root / ".cache/dvc.lock").read_text() == LOCK


def test_complete_stages_of_a_truncated_lock_file_replace_those_of_the_copy(root: Path) -> None:
    third = LOCK[LOCK.index("  prepare@mrpc") :].replace("prepare@mrpc", "prepare@cola")
    (root / ".cache/dvc.lock").write_text(LOCK.replace("5f6f", "0000") + third)
    (root / "dvc.lock").write_text(LOCK + third[:20])
    dvc_lock_repair.repair_files()
    assert (root / "dvc.lock").read_text() == LOCK + third


def test_a_lock_file_without_a_complete_stage_is_moved_away(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dvc.lock").write_text("stages: {pl")
    (root / ".cache/dvc.lock").unlink()
    dvc_lock_repair.repair_files()
    assert not (root / "dvc.lock").exists()
    assert (root / ".cache/dvc.lock.broken").read_text() == "stages: {pl"
    assert capsys.readouterr().err == (
        "dvc.lock was truncated when DVC was killed: removed, since no stage in it is complete; the truncated file is "
        ".cache/dvc.lock.broken, and finished cells come from DVC's cache\n"
    )


def test_the_lock_file_of_a_part_is_repaired_as_well(root: Path) -> None:
    part, copy = root / "parts/mrpc/dvc.lock", root / ".cache/parts/mrpc/dvc.lock"
    for file, text in {part: "{", copy: FEWER, part.with_suffix(".yaml"): "stages: {}"}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    dvc_lock_repair.repair_files()
    assert (part.read_text(), (root / "dvc.lock").read_text()) == (FEWER, LOCK)
    part.write_text("{")
    copy.unlink()
    dvc_lock_repair.repair_files()
    assert (root / ".cache/parts/mrpc/dvc.lock.broken").read_text() == "{"


def test_locks_of_dead_processes_are_dropped_and_those_of_a_live_dvc_stay(root: Path) -> None:
    (root / "dvc").write_text("import time; print('up', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, str(root / "dvc"), "repro"], stdout=subprocess.PIPE) as alive:
        assert alive.stdout
        alive.stdout.readline()
        ours = {"pid": alive.pid, "cmd": "dvc repro"}
        reused = {"pid": os.getpid(), "cmd": "dvc repro"}  # a process id that another program has now
        gone = {"pid": 2**22 + 1, "cmd": "dvc repro"}
        held = {"write": {"runs/a": ours, "runs/b": gone}, "read": {"data/a": [gone, ours, reused], "data/b": [reused]}}
        (root / ".dvc/tmp/rwlock").write_text(json.dumps(held))
        dvc_lock_repair.repair_files()
        alive.kill()
    locked = json.loads((root / ".dvc/tmp/rwlock").read_text())
    assert locked == {"write": {"runs/a": ours}, "read": {"data/a": [ours]}}
    (root / ".dvc/tmp/rwlock").write_text('{"write": {"ru')
    dvc_lock_repair.repair_files()
    assert not (root / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("content", ["{}", '{"write": {}}', '{"write": {}, "read": {}}'])
def test_a_list_without_locks_is_not_rewritten(root: Path, content: str) -> None:
    locks = root / ".dvc/tmp/rwlock"
    locks.write_text(content)
    before = locks.stat().st_ino
    dvc_lock_repair.repair_files()
    assert (locks.read_text(), locks.stat().st_ino) == (content, before)


def test_a_project_without_dvc_is_left_alone(root: Path) -> None:
    shutil.rmtree(root / ".dvc")
    (root / "dvc.lock").write_text("{")
    dvc_lock_repair.repair_files()
    assert (root / "dvc.lock").read_text() == "{"


def test_dvcs_lock_can_be_held_before_the_first_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_lock_repair, "RWLOCK", tmp_path / ".dvc/tmp/rwlock")
    with dvc_lock_repair.hold_dvc_lock():
        assert (tmp_path / ".dvc/tmp/lock").exists()
    assert not dvc_lock_repair.is_dvc_running()
