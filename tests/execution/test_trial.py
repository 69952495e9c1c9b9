"""The duration that a trial records."""

import fcntl
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipeline.core import paths
from pipeline.execution import trial, trial_cache
from pipeline.system import machine_lock

WAIT, WORK = 1.3, 0.3  # seconds


@pytest.fixture
def other_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another trial use the first of these cores until WAIT seconds have gone by."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    lock = (paths.get_machine_dir() / f"core-{machine_lock._read_cores()[0]}.lock").open("a", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_SH)
    threading.Timer(WAIT, lock.close).start()


def test_a_trial_that_waits_to_measure_reports_it_and_does_not_count_it(
    other_trial: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    live: Any = SimpleNamespace(finish=lambda *_: None)
    home = trial_cache.TrialFolders(tmp_path)
    log = trial.TrialLog(OmegaConf.create({"seed": 0}), tmp_path, tmp_path, "a trial", home, live)
    with machine_lock.lock_for_measurement(log.print_line):
        time.sleep(WORK)
    log.finish({})
    seconds = json.loads((tmp_path / "trial.json").read_text())["trial_seconds"]
    assert WORK <= seconds < WAIT
    waiting, waited = capsys.readouterr().out.splitlines()
    assert waiting.startswith("a trial: waiting for core")
    assert waited.startswith(f"a trial: waited {WAIT} s for core")
