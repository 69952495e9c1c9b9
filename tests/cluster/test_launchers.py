"""Seeds and sweeps by Hydra's launchers: in other processes, which compute, tell and fail as this one would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.execution import cell_run, launchers
from pipeline.system import hardware
from tests.conftest import ROOT, drop_waits

from .conftest import CELL, LIGHT, SEEDS, run

RAY = ROOT / ".venv/ray"  # where the Makefile lays what Ray's launcher needs
CORES = ("hydra/launcher=cores", "hydra.launcher.n_jobs=2")
FINETUNE = ("-m", "pipeline.stages.finetune", *SEEDS)
UNFINISHED = f"finetune {CELL}: not finished, so it has no record"
ENVIRONMENT = {"LAB_WARM": "0", "STORE_URL": "http://me:secret-of-mine@store"}


def test_trials_on_all_cores_make_what_they_would_make_here(untold: Path, tmp_path: Path) -> None:
    """One of three fails at first: the others end, and the same command then runs what is missing alone."""
    (untold / "broken-1").touch()
    launcher = {"LAB_LAUNCHER": "cores", **ENVIRONMENT}  # as for every cell that DVC runs
    check_failure(untold, run(untold, *FINETUNE, "hydra.launcher.n_jobs=2", **launcher))
    (untold / "broken-1").unlink()
    second = run(untold, *FINETUNE, "hydra.launcher.n_jobs=2", **launcher)
    assert (second.returncode, second.stderr) == (0, "")
    assert sorted(drop_waits(second.stdout.splitlines()))[:-1] == [
        f"finetune {CELL} seed 0: finished by an earlier run, so it does not run again",
        f"finetune {CELL} seed 1: asked http://***@store",
        f"finetune {CELL} seed 2: finished by an earlier run, so it does not run again",
    ]
    record = json.loads((untold / f"metrics/finetune/{CELL}.json").read_text())
    assert [trial["seed"] for trial in record["trials"]] == [0, 1, 2]
    assert len({trial["process"] for trial in record["trials"]}) > 1
    assert {trial["threads"] for trial in record["trials"]} == {1}
    assert weights(untold) == weights_of_this_process(tmp_path, 0, 1, 2)


def test_trials_as_jobs_of_submitit_do_as_well(untold: Path, tmp_path: Path) -> None:
    (untold / "broken-1").touch()
    check_failure(untold, run(untold, *FINETUNE, "hydra/launcher=slurm-here", **ENVIRONMENT))
    assert weights(untold) == weights_of_this_process(tmp_path, 0, 2)


@pytest.mark.skipif(not RAY.exists(), reason="no Ray here: make ray, then run the tests again")
def test_trials_as_tasks_of_ray_do_as_well(untold: Path, tmp_path: Path) -> None:
    """While they are at work nothing of Ray's listens beyond this machine."""
    for name in ("broken-1", "slow"):
        (untold / name).touch()
    path = f"{RAY}:{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, *FINETUNE, "hydra/launcher=ray-here", "hydra.launcher.ray.remote.num_cpus=1"]
    sweep = begin(untold, command, PYTHONPATH=path)
    wait_for(untold, sweep, 1)
    family = [process.pid for process in psutil.Process(sweep.pid).children(recursive=True)]
    listening = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.pid in family]
    (untold / "slow").unlink()
    out, err = sweep.communicate(timeout=300)
    assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert listening
    check_failure(untold, subprocess.CompletedProcess(command, sweep.returncode, out, err))
    assert weights(untold) == weights_of_this_process(tmp_path, 0, 2)


def begin(root: Path, command: list[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=root, env=os.environ | ENVIRONMENT | variables, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(root: Path, sweep: subprocess.Popen[str], trials: int) -> list[int]:
    """Return the processes of so many trials once they are at work."""
    deadline = time.monotonic() + 120
    while len(began := list(root.glob("began-*"))) < trials:
        assert time.monotonic() < deadline, sweep.kill()
        time.sleep(0.05)
    return [int(path.read_text()) for path in began]


def check_failure(root: Path, done: subprocess.CompletedProcess[str]) -> None:
    """Check what is said where one of three trials fails, and what is left."""
    assert done.stderr.splitlines() == [
        f"error: finetune {CELL} seed 1: the loss is nan at step 3 of 8",
        f"{UNFINISHED}; seeds 0, 2 will not run again",
    ]
    assert sorted(drop_waits(done.stdout.splitlines())) == [
        f"finetune {CELL} seed {seed}: asked http://***@store" for seed in (0, 2)
    ]
    assert done.returncode == 1
    assert not list((root / ".cache").glob("sweep*"))
    assert not list(root.rglob("*.pkl"))


def weights(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "runs/finetune" / CELL).glob("seed-*/model.safetensors"))]


def weights_of_this_process(folder: Path, *seeds: int) -> list[bytes]:
    module: dict[str, Any] = {"__name__": "light"}
    exec(LIGHT, module)
    log = SimpleNamespace(print_line=lambda text: None, log_metrics=lambda step, values: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", folder)
        for seed in seeds:
            module["finetune"](SimpleNamespace(seed=seed), folder, log)
            (folder / "model.safetensors").rename(folder / f"{seed}.safetensors")
    return [(folder / f"{seed}.safetensors").read_bytes() for seed in seeds]


def test_a_trial_that_is_lost_with_its_process_is_told_in_a_line(untold: Path) -> None:
    (untold / "killed-2").touch()
    done = run(untold, *FINETUNE, *CORES, **ENVIRONMENT)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert second.startswith("error: finetune: a trial was lost with its process: A worker process managed by the exe")
    assert second.endswith("; other trials are saved: run the command again")
    assert first.startswith(UNFINISHED)


def test_ctrl_c_takes_the_trials_elsewhere_along(untold: Path) -> None:
    (untold / "slow").touch()
    sweep = begin(untold, [sys.executable, *FINETUNE, *CORES])
    workers = wait_for(untold, sweep, 2)
    sweep.send_signal(signal.SIGINT)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert said.splitlines()[0].startswith("stopping: finished trials and the last checkpoint of this one are saved")
    psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=30)
    assert not [pid for pid in workers if psutil.pid_exists(pid)]


def test_what_no_trial_could_begin_with_is_said_once_and_before_any_is_sent(untold: Path) -> None:
    done = run(untold, *FINETUNE, *CORES, "recipe.epochs=-1", **ENVIRONMENT)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: finetune: conf/recipe/standard.yaml: epochs: got -1")
    assert not list(untold.glob("began-*"))


NAMES = "basic, cores, ray-cluster, ray-here, slurm, slurm-here"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("joblib", f"no launcher 'joblib' in conf/hydra/launcher/; allowed: {NAMES}"),
        ("slrum", f"no launcher 'slrum' in conf/hydra/launcher/; did you mean 'slurm'? (allowed: {NAMES})"),
        ("", f"no launcher '' in conf/hydra/launcher/; allowed: {NAMES}"),
        ("slurm", "hydra/launcher=slurm: no sbatch and srun here; use a machine with Slurm, or slurm-here"),
    ],
)
def test_a_launcher_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.setattr(launchers.shutil, "which", lambda program: None)
    with pytest.raises(UserError) as error:
        launchers.check_launcher(name)
    assert str(error.value) == said


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        launchers.check_launcher("ray-cluster")
    assert str(error.value) == "hydra/launcher=ray-cluster is not installed; run pip install -e '.[ray]'"


def test_processes_of_torchrun_send_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError) as error:
        launchers.check_launcher("cores")
    assert str(error.value) == (
        "hydra/launcher=cores inside torchrun: torchrun has started the processes; use only one of them"
    )


def test_every_file_is_a_launcher_that_is_known_and_no_name_is_a_plugins_own() -> None:
    files = {path.stem for path in (ROOT / "conf/hydra/launcher").glob("*.yaml")}
    assert files == set(launchers.EXTRAS)
    assert not files & {"joblib", "submitit_local", "submitit_slurm", "ray", "ray_aws"}  # Hydra would take one for both


@pytest.mark.parametrize(
    ("cores", "threads", "processes", "trials", "asked", "given"),
    [
        (8, None, 1, 3, -1, (3, "2")),  # three trials share the cores
        (8, None, 1, 20, -1, (8, "1")),
        (8, 4, 1, 20, -1, (2, "4")),  # each has asked for four threads
        (8, None, 2, 20, -1, (4, "1")),  # each trains in two processes
        (8, None, 1, 20, 2, (2, "4")),
        (1, None, 1, 20, -1, (1, "1")),
    ],
)
def test_trials_side_by_side_do_not_fight_for_the_cores(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int | None,
    processes: int,
    trials: int,
    asked: int,
    given: tuple[int, str],
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(hardware, "count_cores", lambda: cores)
    launcher: Any = type("JoblibLauncher", (SimpleNamespace,), {})(joblib={"n_jobs": asked})
    launchers._assign_cores(launcher, OmegaConf.create({"threads": threads, "processes": processes}), trials)
    assert (launcher.joblib["n_jobs"], os.environ["OMP_NUM_THREADS"]) == given


def test_trials_side_by_side_are_no_more_than_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "count_gpus", lambda: 4)
    launcher: Any = type("JoblibLauncher", (SimpleNamespace,), {})(joblib={"n_jobs": 16})
    launchers._assign_cores(launcher, OmegaConf.create({"threads": None, "processes": 1}), 20)
    assert launcher.joblib["n_jobs"] == 4


def test_a_record_tells_of_every_machine_on_which_its_trials_ran() -> None:
    one = {"processor": "A", "cores": 8, "torch": "2"}
    assert cell_run._merge_machines([one, dict(one)]) == one
    assert cell_run._merge_machines([one, one | {"cores": 64}, one]) == one | {"cores": "8 / 64"}
