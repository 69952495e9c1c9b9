"""A stage that is killed or interrupted: what had ended is kept, a training goes on, a cell with a hole has no mean."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TOY = '''"""toy: a stage of 40 steps that the tests add; the file "slow" lets it hang.

At a Ctrl-C it then ends "well", is "deaf" to it, or has "lost" it and fails by what it broke.
"""
import time
import torch
from pipeline.core import paths
from pipeline.execution import entry
from pipeline.core.errors import UserError

def toy(cfg, out, log):
    kept = log.open_checkpoint()
    found = kept.load()
    first = found.state["step"] if found else 0
    total = found.tensors["total"] if found else torch.zeros(1, dtype=torch.float64)
    with (paths.ROOT / "made.txt").open("a") as file:
        for step in range(first, 40):
            total += torch.sin(torch.tensor(float(step + cfg.seed)).double())
            file.write(f"{cfg.seed} {step}\\n")
            file.flush()
            if (paths.ROOT / "slow").exists() and cfg.seed == 1 and step > 20:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    if (paths.ROOT / "deaf").exists():
                        time.sleep(60)
                    if not (paths.ROOT / "lost").exists():
                        raise
                raise ImportError("cannot load module more than once per process")
            if step % 10 == 9:
                kept.save(step + 1, {"total": total}, {})
    if cfg.seed == cfg.nan:
        raise UserError("the loss is nan at step 40 of 40" + kept.description)
    (out / "model.safetensors").write_bytes(total.numpy().tobytes())
    return {"score": float(total)}

if __name__ == "__main__":
    entry.run_stage(toy)
'''
STOPPING = (
    "stopping: finished trials and the last checkpoint of this one are saved; run the same command again to continue\n"
)
UNFINISHED = "toy toy: not finished, so it has no record; seed 0 will not run again\n"


@pytest.fixture
def toy(project: Path) -> Path:
    (project / "pipeline/stages/toy.py").write_text(TOY)
    (project / "conf/toy.yaml").write_text("defaults: [workspace, _self_]\ncell: toy\nnan: -1\n")
    return project


def start(root: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.stages.toy", "--multirun", "+sweep=seeds", *overrides]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def started(root: Path, *overrides: str) -> subprocess.Popen[str]:
    """Return the stage once seed 1 hangs in the middle of its steps."""
    (root / "slow").touch()
    process = start(root, *overrides)
    deadline = time.monotonic() + 300
    while "1 21\n" not in (made(root) or ""):
        assert time.monotonic() < deadline, process.kill()
        time.sleep(0.02)
    return process


def made(root: Path) -> str:
    path = root / "made.txt"
    return path.read_text() if path.exists() else ""


def whole(root: Path) -> dict[str, Any]:
    """Let the stage come to its end, and return its record."""
    (root / "slow").unlink(missing_ok=True)
    process = start(root)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert said.startswith("toy toy seed 0: finished by an earlier run, so it does not run again\n")
    content: dict[str, Any] = json.loads((root / "metrics/toy/toy.json").read_text())
    return content


def steps(root: Path, seed: int) -> list[int]:
    return [int(step) for name, step in (line.split() for line in made(root).splitlines()) if int(name) == seed]


def test_after_a_kill_what_had_ended_is_not_run_again_and_the_rest_goes_on_from_its_checkpoint(toy: Path) -> None:
    process = started(toy)
    first = (toy / "runs/toy/toy/seed-0/trial.json").read_text()
    process.kill()
    process.communicate()
    assert not (toy / "metrics/toy/toy.json").exists()
    assert not (toy / "runs/toy/toy/seed-1").exists()
    subprocess.run(["rm", "-r", "runs/toy/toy"], cwd=toy, check=True)  # as DVC does before it runs a cell again
    record = whole(toy)
    assert steps(toy, 0) == [*range(40)]
    assert steps(toy, 1) == [*range(22), *range(20, 40)]
    assert [trial["seed"] for trial in record["trials"]] == [0, 1, 2]
    assert (toy / "runs/toy/toy/seed-0/trial.json").read_text() == first
    undisturbed = start(toy, "exploration=true")
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    for seed in (0, 1, 2):
        assert (toy / f"runs/toy/toy/seed-{seed}/model.safetensors").read_bytes() == (
            toy / f"runs/exploration/toy/toy/seed-{seed}/model.safetensors"
        ).read_bytes()
    hidden = [path for path in toy.rglob(".*.tmp") if path.parent.name != "toy"]
    assert not hidden


@pytest.mark.parametrize("way", ["well", "deaf", "lost"])
def test_ctrl_c_ends_at_once_and_says_what_is_safe_and_how_to_go_on(toy: Path, way: str) -> None:
    """A trial that does not listen is ended all the same; it has no time to tell of its cell."""
    (toy / way).touch()
    process = started(toy)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert time.monotonic() - asked < 10  # 2 s are promised; a busy machine is given more
    assert process.returncode == 130
    assert said == ""
    assert errors == (STOPPING if way == "deaf" else STOPPING + UNFINISHED)
    assert not (toy / "metrics/toy/toy.json").exists()
    record = whole(toy)
    assert len(record["trials"]) == 3
    assert steps(toy, 1) == [*range(22), *range(20, 40)]


def test_a_loss_that_is_no_number_fails_its_cell_and_is_in_no_mean(toy: Path) -> None:
    process = start(toy, "nan=1")
    said, errors = process.communicate()
    assert process.returncode == 1
    assert said == ""
    place = ".cache/trials/toy/toy/seed-1/training.safetensors"
    assert errors == (
        "error: toy toy seed 1: the loss is nan at step 40 of 40; "
        f"the last good checkpoint is that of step 40, {place}\n"
        "toy toy: not finished, so it has no record; seeds 0, 2 will not run again\n"
    )
    assert (toy / place).exists()
    assert not (toy / "metrics/toy/toy.json").exists()
    assert sorted(path.name for path in (toy / "runs/toy/toy").iterdir()) == ["seed-0", "seed-2"]


def test_a_stage_ends_with_the_dvc_that_runs_it(toy: Path) -> None:
    (toy / "slow").touch()
    (toy / "dvc").write_text(
        "import subprocess, sys\n"
        "stage = subprocess.Popen([sys.executable, '-m', 'pipeline.stages.toy', '--multirun', '+sweep=seeds'])\n"
        "print(stage.pid, flush=True)\n"
        "stage.wait()\n"
    )
    dvc = subprocess.Popen(
        [sys.executable, "dvc", "repro"],
        cwd=toy,
        env={**os.environ, "DVC_STAGE": "toy"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dvc.stdout
    stage = int(dvc.stdout.readline())
    deadline = time.monotonic() + 300
    while "1 21\n" not in made(toy):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    dvc.kill()
    dvc.wait()
    while Path(f"/proc/{stage}").exists() and not re.search("State:\tZ", Path(f"/proc/{stage}/status").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    dvc.stdout.close()
    assert steps(toy, 1) == [*range(22)]
