"""Trials that have ended are kept until DVC has recorded their cell."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.core import checksums, paths
from pipeline.execution import trial_cache
from pipeline.execution.trial_cache import TrialFolders

WAITS = """import sys, time
from pathlib import Path
from pipeline.core import paths
from pipeline.execution import trial_cache
paths.ROOT, trial_cache.FOLDER = Path(sys.argv[1]), Path(sys.argv[1]) / ".cache/trials"
with trial_cache.TrialFolders(paths.ROOT / "runs/finetune/a/seed-0").lock("k"):
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(trial_cache, "FOLDER", tmp_path / ".cache/trials")
    return tmp_path


def worked(home: TrialFolders, key: str = "k", text: str = "weights") -> None:
    with home.lock(key), home.replace() as (out, records):
        (out / "made").write_text(text)
        (records / "trial.json").write_text('{"seed": 0, "score": 0.5, "artifacts": []}')


def test_a_trial_that_ended_is_there_although_dvc_wiped_its_folder(root: Path) -> None:
    home = TrialFolders(root / "runs/finetune/a/seed-0")
    worked(home)
    before = {path.name: path.read_bytes() for path in home.records.iterdir()}
    subprocess.run(["rm", "-r", str(home.records.parent)], check=True)
    with home.lock("k"):
        assert home.is_finished()
        home.restore()
    assert {path.name: path.read_bytes() for path in home.records.iterdir()} == before
    assert os.stat(home.records / "made").st_nlink == 2  # the same bytes on the disk, not a second time


def test_a_product_elsewhere_is_kept_with_its_trial(root: Path) -> None:
    home = TrialFolders(root / "runs/prepare/mrpc/seed-0", root / "data/mrpc")
    worked(home)
    assert sorted(path.name for path in home.out.iterdir()) == ["made", "sha256.txt"]
    subprocess.run(["rm", "-r", "data", "runs"], cwd=root, check=True)
    with home.lock("k"):
        assert home.is_finished()
        home.restore()
    assert sorted(path.name for path in home.out.iterdir()) == ["made", "sha256.txt"]
    assert sorted(path.name for path in home.records.iterdir()) == ["sha256.txt", "trial.json"]
    for folder in (home.out, home.records):
        checksums.verify_checksums(folder, lambda: "")


def test_of_another_key_nothing_is_kept(root: Path) -> None:
    home = TrialFolders(root / "runs/finetune/a/seed-0")
    worked(home)
    home.get_checkpoint("training").write_text("state")
    with home.lock("other"):
        assert not home.is_finished()
        assert not home.get_checkpoint("training").exists()


def test_what_fails_is_not_kept_but_its_checkpoint_is(root: Path) -> None:
    home = TrialFolders(root / "runs/finetune/a/seed-0")

    def fails() -> None:
        with home.lock("k"), home.replace() as (out, _):
            home.get_checkpoint("training").write_text("state")
            (out / "made").write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fails()
    assert not home.records.exists()
    with home.lock("k"):
        assert not home.is_finished()
        assert home.get_checkpoint("training").read_text() == "state"
    worked(home)
    assert not home.get_checkpoint("training").exists()


def test_what_is_not_whole_any_more_is_named_and_dropped(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = TrialFolders(root / "runs/finetune/a/seed-0")
    worked(home)
    made = home.cached / "done/made"
    made.unlink()
    made.write_text("weight")
    with home.lock("k"):
        assert not home.is_finished()
    got, expected = (hashlib.sha256(text).hexdigest()[:12] for text in (b"weight", b"weights"))
    assert capsys.readouterr().err == (
        "warning: .cache/trials/finetune/a/seed-0/done/made: modified or truncated: its 6 bytes have "
        f"the SHA-256 {got}..., not {expected}...; the trial starts again\n"
    )
    assert (home.records / "made").read_text() == "weights"


def test_what_dvc_has_recorded_is_not_kept_any_longer(root: Path) -> None:
    home, record = TrialFolders(root / "runs/finetune/a/seed-0"), root / "metrics/finetune/a.json"
    other = TrialFolders(root / "runs/finetune/b/seed-0")
    worked(home)
    worked(other)
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    trial_cache.mark_recorded(home.records.parent, record)
    trial_cache.remove_recorded()
    with home.lock("k"):
        assert home.is_finished()
    (root / "dvc.lock").write_text(f"- path: metrics/finetune/a.json\n  md5: {hashlib.md5(b'{}').hexdigest()}\n")
    with home.lock("k"):  # somebody asks for it once more
        assert not home.is_finished()
    worked(home)
    trial_cache.mark_recorded(home.records.parent, record)
    trial_cache.remove_recorded()
    assert not (home.cached / "done").exists()
    assert (other.cached / "done").exists()


def test_an_exploration_that_is_complete_is_run_again_when_it_is_asked_again(root: Path) -> None:
    home = TrialFolders(root / "runs/exploration/finetune/a/seed-0")
    worked(home)
    with home.lock("k"):
        assert home.is_finished()
    trial_cache.mark_recorded(home.records.parent, root / "runs/exploration/finetune/a/metrics.json")
    with home.lock("k"):
        assert not home.is_finished()
    assert (home.records / "made").exists()


def test_a_trial_waits_for_another_process_that_runs_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS, str(root)], stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        threading.Timer(0.5, other.kill).start()
        with TrialFolders(root / "runs/finetune/a/seed-0").lock("k", "waiting"):
            assert other.wait(timeout=30) == -signal.SIGKILL
    assert capsys.readouterr().out == "waiting\n"


def test_the_key_changes_with_what_went_in_and_with_the_seed() -> None:
    keys = [trial_cache.compute_key("a", 0), trial_cache.compute_key("a", 1), trial_cache.compute_key("b", 0)]
    assert len(set(keys)) == 3
    assert trial_cache.compute_key("a", 0) == keys[0]


def test_the_key_changes_with_the_projects_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    module = tmp_path / "pipeline/stages/finetune.py"
    module.parent.mkdir(parents=True)
    keys = []
    for text in ("a = 1", "a = 2", "a = 10"):
        module.write_text(text)
        trial_cache._compute_code_digest.cache_clear()
        keys.append(trial_cache.compute_key("a", 0))
        trial_cache._compute_code_digest.cache_clear()
        assert trial_cache.compute_key("a", 0) == keys[-1]
    trial_cache._compute_code_digest.cache_clear()
    assert len(set(keys)) == 3
