"""What a killed DVC left half-written is put right, and what is whole stays as it is."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.system import dvc_lock_repair

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
DVC = """import os, signal, subprocess, sys, time
code = "from pipeline.system import dvc_lock_repair; dvc_lock_repair.stand_by()"
subprocess.run([sys.executable, "-c", code], check=True)
open("dvc.lock", "w").write("stages:\\n  plan: {cmd")
open(".dvc/tmp/rwlock", "w").write('{"wri')
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which DVC has run two stages."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / ".cache/dvc.lock").write_text(FEWER)
    for name, value in {"ROOT": tmp_path, "CACHE": tmp_path / ".cache"}.items():
        monkeypatch.setattr(paths, name, value)
    monkeypatch.setattr(dvc_lock_repair, "LOCKS", tmp_path / ".dvc/tmp/rwlock")
    return tmp_path


def test_a_lock_file_that_was_cut_short_anywhere_can_be_read_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back = 0
    for length in range(len(LOCK)):
        (root / "dvc.lock").write_text(LOCK[:length])
        dvc_lock_repair.mend()
        found = (root / "dvc.lock").read_text()
        assert found in (LOCK[:length], FEWER)
        assert dvc_lock_repair._whole(root / "dvc.lock")
        told = capsys.readouterr().err
        if found == LOCK[:length]:
            assert told == ""
            continue
        back += 1
        assert told == (
            "dvc.lock was half-written when DVC was killed: it is as it was before the last cell again; "
            "what ran comes from DVC's cache\n"
        )
    assert back > 60
    (root / "dvc.lock").write_text(LOCK)
    dvc_lock_repair.mend()
    assert (root / "dvc.lock").read_text() == LOCK


def test_without_a_whole_copy_a_broken_lock_file_is_put_aside(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dvc.lock").write_text("stages: {pl")
    (root / ".cache/dvc.lock").unlink()
    dvc_lock_repair.mend()
    assert not (root / "dvc.lock").exists()
    assert (root / ".cache/dvc.lock.broken").read_text() == "stages: {pl"
    assert capsys.readouterr().err == (
        "dvc.lock was half-written when DVC was killed: nothing whole was there to put in its place, so it lies in "
        ".cache/dvc.lock.broken; what ran comes from DVC's cache\n"
    )


def test_the_lock_file_of_a_part_is_mended_as_well(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, copy = root / "parts/mrpc/dvc.lock", root / ".cache/parts/mrpc/dvc.lock"
    for file, text in {part: "{", copy: FEWER, part.with_suffix(".yaml"): "stages: {}"}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    dvc_lock_repair.mend()
    assert (part.read_text(), (root / "dvc.lock").read_text()) == (FEWER, LOCK)
    assert capsys.readouterr().err == (
        "parts/mrpc/dvc.lock was half-written when DVC was killed: it is as it was before the last cell again; "
        "what ran comes from DVC's cache\n"
    )
    part.write_text("{")
    copy.unlink()
    dvc_lock_repair.mend()
    assert (root / ".cache/parts/mrpc/dvc.lock.broken").read_text() == "{"


def test_locks_of_dead_processes_are_struck_out_and_those_of_a_live_dvc_stay(root: Path) -> None:
    (root / "dvc").write_text("import time; print('up', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, str(root / "dvc"), "repro"], stdout=subprocess.PIPE) as alive:
        assert alive.stdout
        alive.stdout.readline()
        ours = {"pid": alive.pid, "cmd": "dvc repro"}
        reused = {"pid": os.getpid(), "cmd": "dvc repro"}  # a number that another program bears by now
        gone = {"pid": 2**22 + 1, "cmd": "dvc repro"}
        held = {"write": {"runs/a": ours, "runs/b": gone}, "read": {"data/a": [gone, ours, reused], "data/b": [reused]}}
        (root / ".dvc/tmp/rwlock").write_text(json.dumps(held))
        dvc_lock_repair.mend()
        alive.kill()
    kept = json.loads((root / ".dvc/tmp/rwlock").read_text())
    assert kept == {"write": {"runs/a": ours}, "read": {"data/a": [ours]}}
    (root / ".dvc/tmp/rwlock").write_text('{"write": {"ru')
    dvc_lock_repair.mend()
    assert not (root / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("content", ["{}", '{"write": {}}', '{"write": {}, "read": {}}'])
def test_a_list_without_locks_is_not_written_anew(root: Path, content: str) -> None:
    locks = root / ".dvc/tmp/rwlock"
    locks.write_text(content)
    before = locks.stat().st_ino
    dvc_lock_repair.mend()
    assert (locks.read_text(), locks.stat().st_ino) == (content, before)


def test_a_project_without_dvc_is_left_alone(root: Path) -> None:
    shutil.rmtree(root / ".dvc")
    (root / "dvc.lock").write_text("{")
    dvc_lock_repair.mend()
    assert (root / "dvc.lock").read_text() == "{"


def test_what_a_killed_dvc_left_is_mended_at_once(tmp_path: Path) -> None:
    """A script that is called dvc runs a stage, then dies in the middle of writing both files."""
    shutil.copytree(paths.ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "dvc").write_text(DVC)
    done = subprocess.run(
        [sys.executable, "dvc", "repro"], cwd=tmp_path, env={**os.environ, "DVC_STAGE": "prepare@mrpc"}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while (tmp_path / ".dvc/tmp/rwlock").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / ".dvc/tmp/rwlock").exists()
    assert (tmp_path / "dvc.lock").read_text() == LOCK
    assert sorted(path.name for path in (tmp_path / ".cache").iterdir()) == ["dvc.lock"]


def test_who_reads_what_dvc_says_before_asking_how_it_ended_does_not_wait_for_ever(tmp_path: Path) -> None:
    shutil.copytree(paths.ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc").write_text(DVC.partition("open(")[0])
    with subprocess.Popen(
        [sys.executable, "dvc", "repro"], cwd=tmp_path, stderr=subprocess.PIPE,
        env={**os.environ, "DVC_STAGE": "prepare@mrpc"},
    ) as begun:  # fmt: skip
        assert begun.stderr is not None
        assert select.select([begun.stderr], [], [], 60)[0], "somebody holds it open"
        assert begun.stderr.read() == b""
    assert begun.returncode == 0
    assert list((tmp_path / ".cache").iterdir()) == []


def test_a_stage_that_dvc_does_not_run_leaves_nothing_to_mend_by(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    dvc_lock_repair.stand_by()
    assert (root / ".cache/dvc.lock").read_text() == FEWER
    assert sorted(path.name for path in (root / ".cache").iterdir()) == ["dvc.lock"]


def test_dvcs_lock_can_be_held_where_no_dvc_has_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_lock_repair, "LOCKS", tmp_path / ".dvc/tmp/rwlock")
    with dvc_lock_repair.alone():
        assert (tmp_path / ".dvc/tmp/lock").exists()
    assert not dvc_lock_repair.at_work()
