"""Kills `dvc repro` again and again, and shows what that costs: nothing but the seconds since the last checkpoint.

``python -m tests.chaos --kills 100`` runs the plan twice in copies of the project, once undisturbed and once killed
with SIGKILL at random moments, then compares what both made: every weight and every number that no clock and no memory
decides, byte for byte. The seed of the moments is printed, so that a run can be repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from pipeline.core import paths

ROOT = Path(__file__).resolve().parent.parent
MARK = "CHAOS_LAB"  # a variable by which every process of a laboratory is known
MEASURED = re.compile(r"seconds|per_second|latency|memory|_mib|utilisation|energy|joule|watt|throughput|bandwidth")
AIMED = 0.4  # share of the kills that wait for DVC to be alone: it commits what a stage has made
STORE_SECONDS = 20.0  # within which it has to be told of all cells
ORPHANS_SECONDS = 5.0  # within which a trial has to end when the DVC that ran it was killed
INTERVAL = 2  # seconds between two checkpoints: the starter's trainings are short
TRAINING = ("pretrain", "finetune", "distill", "compress")  # stages with checkpoints
ALWAYS = "source-digests"  # the stage that DVC always lists as changed
REPAIR = "from pipeline.runner import dvc_lock_repair; dvc_lock_repair.repair_files()"
VICTIMS = ("dvc", "group", "trial", "everything")


@dataclass
class Kill:
    """When and whom a kill hit: the stage that DVC ran, ``dvc`` where it was alone, and the seconds that were lost."""

    after: float
    victim: str
    moment: str
    lost: float
    stages: int = 0  # that DVC had recorded by then


@dataclass
class Lab:
    """A copy of the project in which a plan is run."""

    root: Path
    jobs: int = 0  # cells that run side by side; 0 for a plain `dvc repro`
    kills: list[Kill] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)  # trials that had ended at a kill, and what they came to

    @classmethod
    def copy(cls, folder: Path, change: Callable[[Path], None], jobs: int = 0) -> Lab:
        """Copy what git knows or would know of the project, and ``change`` the copy."""
        known = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.run(known, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
            made = name.startswith(("metrics/", "report/")) or name.endswith("dvc.lock")
            if name and (ROOT / name).is_file() and not made:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        change(folder)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "plan"]):
            identity = ["-c", "user.name=chaos", "-c", "user.email=chaos@localhost"]
            subprocess.run(["git", *identity, *command], cwd=folder, check=True)
        return cls(folder, jobs)

    def repro(self, log: Path) -> subprocess.Popen[bytes]:
        """Start `dvc repro`, or what runs several, in a process group of its own.

        After a kill, DVC's files are repaired first, as `lab run` does.
        """
        if self.kills:
            subprocess.run([sys.executable, "-c", REPAIR], cwd=self.root, check=True)
        known = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # of nobody's runs
        temporary = self.root / "tmp"
        temporary.mkdir(exist_ok=True)
        place = {"TMPDIR": str(temporary), MARK: str(self.root), "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
        command = ("pipeline.cli.main", "run", "--jobs", str(self.jobs)) if self.jobs else ("dvc", "repro")
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.root,
                env={**known, **place, "LAB_WARM": "1"},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Return every process of the laboratory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def trials(self) -> list[psutil.Process]:
        """Return the processes that work for a stage: forks of the warm server, and cold ones."""
        return [process for process in self.processes() if "pipeline.stages" in _arguments(process)]

    def end(self) -> None:
        """Kill what is left, and what it forks meanwhile, and wait until it is gone."""
        while left := self.processes():
            for process in left:
                _kill(process)
            psutil.wait_procs(left, timeout=1)

    def recorded(self) -> int:
        """Return how many stages DVC has recorded."""
        texts = (lock.read_text(encoding="utf-8", errors="replace") for lock in self.locks())
        return sum(text.count("\n    cmd:") for text in texts)

    def locks(self) -> list[Path]:
        """Return the files in which DVC keeps what it has run."""
        places = (self.root / lock.relative_to(ROOT) for lock in paths.list_lock_files())
        return [lock for lock in places if lock.exists()]


def _arguments(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()


def torment(lab: Lab, kills: int, seconds: float, stages: int, rng: random.Random, log: Path) -> None:
    """Run the plan to its end and kill it ``kills`` times on the way.

    ``seconds`` and ``stages`` are those of an undisturbed run. Raises AssertionError where a kill leaves something that
    it must not leave, or the last run fails.
    """
    while len(lab.kills) < kills:
        left = max(1, stages - lab.recorded())
        pace = seconds * left / stages / (kills - len(lab.kills))
        running = lab.repro(log)
        _until_further(lab, running)
        started = time.monotonic()
        wait = START_SECONDS + rng.uniform(0, 2 * pace)
        aimed = rng.random() < AIMED
        while time.monotonic() - started < wait and running.poll() is None:
            time.sleep(0.02)
        if aimed:
            _until_alone(running, rng)
        if running.poll() is not None:
            _again(lab, running, log)
            continue
        _strike(lab, running, rng.choice(VICTIMS), time.monotonic() - started)
        lab.kills[-1].stages = lab.recorded()
        check_after_kill(lab)
        print(f"{len(lab.kills)}/{kills} {lab.kills[-1]}", flush=True)
    last = lab.repro(log)
    assert last.wait() == 0, f"the last run failed, see {log}"


START_SECONDS = 2.0  # that DVC takes before it runs a stage


def _until_further(lab: Lab, running: subprocess.Popen[bytes]) -> None:
    """After three kills at one place let a stage pass first, so that the kills are spread over the plan."""
    before = lab.recorded()
    if [kill.stages for kill in lab.kills[-3:]] == [before] * 3:
        while running.poll() is None and lab.recorded() <= before:
            time.sleep(0.05)


def _until_alone(running: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Wait until DVC runs no stage, and then for a moment of the time that it takes to commit one."""
    deadline = time.monotonic() + 20
    seen = False
    while running.poll() is None and time.monotonic() < deadline:
        try:
            busy = bool(psutil.Process(running.pid).children())
        except psutil.Error:
            return
        if seen and not busy:
            time.sleep(rng.uniform(0, 0.4))
            return
        seen = seen or busy
        time.sleep(0.002)


def _again(lab: Lab, ended: subprocess.Popen[bytes], log: Path) -> None:
    """Where a run came to its end before all kills: let the next one begin from nothing."""
    assert ended.returncode == 0, f"a run failed, see {log}"
    for made in ("runs", "data", "models", "metrics", "report", ".dvc/cache", ".cache/trials"):
        shutil.rmtree(lab.root / made, ignore_errors=True)
    for lock in lab.locks():
        lock.unlink()
    lab.ended.clear()


def _strike(lab: Lab, running: subprocess.Popen[bytes], victim: str, after: float) -> None:
    lab.ended |= dict(_ended(lab))
    lost, moment = _lost(lab), _moment(running)
    trials = lab.trials()
    if victim == "trial" and not trials:
        victim = "dvc"
    if victim == "dvc":
        os.kill(running.pid, signal.SIGKILL)
    elif victim == "group":
        os.killpg(running.pid, signal.SIGKILL)
    elif victim == "everything":
        lab.end()
    else:
        for process in trials[-1:]:
            _kill(process)
    running.wait()
    lab.kills.append(Kill(round(after, 2), victim, moment, round(lost, 2)))


def _moment(running: subprocess.Popen[bytes]) -> str:
    """Return the stage that DVC runs, or ``dvc`` where it is at its own work."""
    try:
        for child in psutil.Process(running.pid).children():
            return child.environ().get("DVC_STAGE", "dvc").partition("@")[0].partition("-")[0]
    except psutil.Error:
        pass
    return "dvc"


def _lost(lab: Lab) -> float:
    """Return the seconds since the trial at work has begun or last kept its state, 0 where none is at work."""
    for lock in (lab.root / ".cache" / "trials").glob("*/*/seed-*.lock"):
        try:
            with FileLock(lock, blocking=False):
                continue
        except Timeout:
            kept = [path.stat().st_mtime for path in lock.with_suffix("").glob("*")]
            return max(0.0, time.time() - max(kept, default=time.time()))
    return 0.0


def _ended(lab: Lab) -> Iterator[tuple[str, str]]:
    """Yield the trials that are kept as finished, and what they came to: run again, their clock would tell another."""
    for done in (lab.root / ".cache" / "trials").glob("*/*/seed-*/done/trial.json"):
        seed = done.parent.parent
        yield str(seed.relative_to(lab.root / ".cache" / "trials")), done.read_text()


def check_after_kill(lab: Lab) -> None:
    """See that no trial outlives its DVC, and that nothing half-written passes for whole."""
    deadline = time.monotonic() + ORPHANS_SECONDS
    while (left := lab.trials()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"still at work: {[_arguments(process) for process in left]}"
    for record in (lab.root / "metrics").rglob("*.json"):
        if not record.name.startswith("."):
            json.loads(record.read_text(encoding="utf-8"))
    for listing in [*lab.root.glob("runs/*/*/*/sha256.txt"), *lab.root.glob("data/*/sha256.txt")]:
        if listing.parent.name.startswith("."):
            continue
        check = subprocess.run(["sha256sum", "--check", "--quiet", listing.name], cwd=listing.parent, check=False)
        assert check.returncode == 0, listing


def differences(one: Lab, other: Lab) -> list[str]:
    """Return which weights, data and numbers differ, but for those that a clock or the memory decides."""
    found = [f"{name}: differs" for name in _differing(one.root, other.root)]
    records = sorted(path.relative_to(one.root) for path in one.root.glob("metrics/*/*.json"))
    assert records == sorted(path.relative_to(other.root) for path in other.root.glob("metrics/*/*.json"))
    for name in records:
        first, second = (json.loads((lab.root / name).read_text(encoding="utf-8")) for lab in (one, other))
        for mine, theirs in zip(first["trials"], second["trials"], strict=True):
            keys = {key for key in mine.keys() | theirs.keys() if not MEASURED.search(key)}
            found += [f"{name}: {key}: {mine.get(key)} and {theirs.get(key)}" for key in sorted(keys)
                      if name.parts[1] != "benchmark" and mine.get(key) != theirs.get(key)]  # fmt: skip
    return found


def _differing(one: Path, other: Path) -> Iterator[str]:
    patterns = ("runs/*/*/*/*.safetensors", "runs/*/*/*/alone/*.safetensors", "models/*/*", "data/*/*")
    names = [
        sorted(str(path.relative_to(root)) for pattern in patterns for path in root.glob(pattern))
        for root in (one, other)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if (one / name).is_file() and (one / name).read_bytes() != (other / name).read_bytes():
            yield name


def check_at_end(lab: Lab) -> None:
    """See that nothing is left of the kills, and that what had ended was not run again."""
    status = [sys.executable, "-m", "dvc", "status", "--json"]
    changed = subprocess.run(status, cwd=lab.root, capture_output=True, text=True, check=True).stdout
    assert json.loads(changed).keys() <= {ALWAYS}, changed
    _check_store(lab)
    left = [path for path in lab.root.rglob("*.tmp") if "tmp" not in path.relative_to(lab.root).parts[:1]]
    assert not left, left
    assert len(list((lab.root / ".cache").glob("sweep-*"))) == 0
    locks = lab.root / ".dvc/tmp/rwlock"
    assert not locks.exists() or not any(json.loads(locks.read_text()).values()), locks.read_text()
    again = [name for name, told in lab.ended.items() if (lab.root / "runs" / name / "trial.json").read_text() != told]
    assert not again, f"run again although they had ended: {again}"


def _runs(lab: Lab) -> list[Any]:
    """Return what the tracking store holds once nothing is at work: the last cell tells it when DVC is through."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{lab.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("scaling")
    assert experiment is not None
    deadline = time.monotonic() + STORE_SECONDS
    while True:
        runs: list[Any] = []
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
            runs += page
            if not (token := page.token):
                break
        at_work = [run.info.run_name for run in runs if run.info.status == "RUNNING"]
        if not at_work:
            return runs
        assert time.monotonic() < deadline, at_work
        time.sleep(0.1)


def _check_store(lab: Lab) -> None:
    """See that the tracking store holds every cell once, with every seed, and no run at work."""
    runs = _runs(lab)
    cells = Counter(
        (run.data.tags["stage"], run.data.tags["cell"]) for run in runs if run.data.tags.get("level") == "cell"
    )
    assert max(cells.values()) == 1, cells.most_common(3)
    seeds = Counter(
        (run.data.tags["stage"], run.data.tags["cell"], run.data.tags["seed"])
        for run in runs
        if run.data.tags.get("level") == "trial"
    )
    records = {
        tuple(path.relative_to(lab.root / "metrics").with_suffix("").parts)
        for path in lab.root.glob("metrics/*/*.json")
    }
    assert cells.keys() == records, cells.keys() ^ records
    assert max(seeds.values()) == 1, seeds.most_common(3)


def frequent(root: Path) -> None:
    """Let checkpoints be taken often."""
    settings = root / "conf" / "workspace.yaml"
    text = re.sub(r"checkpoint_seconds: \d+", f"checkpoint_seconds: {INTERVAL}", settings.read_text())
    settings.write_text(text)


def undisturbed(lab: Lab, log: Path) -> float:
    """Run the plan to its end; return the seconds that it took."""
    started = time.monotonic()
    assert lab.repro(log).wait() == 0, f"see {log}"
    lab.end()
    return time.monotonic() - started


def compare(steady: Lab, tormented: Lab) -> None:
    """See that nothing is left of the kills, and that both laboratories made the same."""
    check_at_end(tormented)
    found = differences(steady, tormented)
    assert not found, "\n".join(found)


def told(lab: Lab) -> str:
    """Return what a run came to."""
    moments, victims = Counter(kill.moment for kill in lab.kills), Counter(kill.victim for kill in lab.kills)
    trained, measured = (
        [kill.lost for kill in lab.kills if kill.lost and (kill.moment in TRAINING) is is_training]
        for is_training in (True, False)
    )
    return "\n".join(
        [
            f"{len(lab.kills)} kills survived: weights, data and numbers are those of an undisturbed run, to the byte",
            f"during: {', '.join(f'{name} {count}' for name, count in moments.most_common())}",
            f"killed: {', '.join(f'{name} {count}' for name, count in victims.most_common())}",
            f"lost of trainings, imports included: {sum(trained):.0f} s, {max(trained, default=0):.1f} s at most "
            f"(a checkpoint is due every {INTERVAL} s)",
            f"lost of trials that have no checkpoints: {sum(measured):.0f} s",
            f"{len(lab.ended)} trials had ended in cells that were killed; none of them was run again",
        ]
    )


def main() -> None:
    """Torment the plan in params.yaml."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where the copies are made, kept after a failure")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {seed}, in {folder}", flush=True)
    steady, tormented = (Lab.copy(folder / name, frequent) for name in ("steady", "tormented"))
    try:
        seconds, stages = undisturbed(steady, folder / "steady.log"), steady.recorded()
        print(f"undisturbed: {stages} stages in {seconds:.0f} s", flush=True)
        torment(tormented, given.kills, seconds, stages, random.Random(seed), folder / "tormented.log")
        compare(steady, tormented)
    finally:
        steady.end()
        tormented.end()
    print(told(tormented))
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
