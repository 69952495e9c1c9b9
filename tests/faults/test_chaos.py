"""The harness of kills over a plan of a few cells; `make chaos` is the same over the shipped one."""

import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import chaos
from tests.chaos import Lab

MODELS = ["starter-2x64", "starter-2x96"]
SEED = 180  # of three kills: of a trial, of DVC's process group, and of DVC while it commits


def small(root: Path) -> None:
    """Leave two models, one share of one task and two seeds of the plan, and a comparison that does nothing."""
    chaos.frequent(root)
    yaml = YAML()

    def fewer(plan: Any) -> None:
        plan["tasks"], plan["models"], plan["ratios"], plan["seeds"] = ["starter-swap"], MODELS, [0.1], [0, 1]
        plan["variants"], plan["distill"], plan["compress"], plan["benchmark"]["models"] = {}, {}, {}, []

    def shorter(pipeline: Any) -> None:
        pipeline["stages"]["compare"] = {"cmd": "true", "deps": ["metrics/evaluate"]}
        del pipeline["plots"]

    for name, change in {"params.yaml": fewer, "dvc.yaml": shorter}.items():
        content = yaml.load(root / name)
        change(content)
        yaml.dump(content, root / name)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A laboratory in which two `dvc repro` were started at once, and a third after them."""
    folder = tmp_path_factory.mktemp("steady")
    lab = Lab.copy(folder / "lab", small)
    logs = [folder / "one.log", folder / "other.log"]
    try:
        both = [lab.repro(log) for log in logs]
        ended = [process.wait() for process in both]
        assert 0 in ended
        for status, log in zip(ended, logs, strict=True):
            assert status == 0 or re.search("Unable to acquire lock|is busy, it is being blocked by", log.read_text())
        chaos.undisturbed(lab, folder / "after.log")
    finally:
        lab.end()
    return lab


def test_two_at_once_corrupt_nothing(steady: Lab) -> None:
    chaos.check_after_kill(steady)
    chaos.check_at_end(steady)


def test_a_plan_that_is_killed_again_and_again_ends_with_the_same_bytes(steady: Lab, tmp_path: Path) -> None:
    tormented = Lab.copy(tmp_path / "lab", small)
    try:
        chaos.torment(tormented, 3, 15.0, steady.recorded(), random.Random(SEED), tmp_path / "tormented.log")
        chaos.compare(steady, tormented)
    finally:
        tormented.end()
    assert len(tormented.kills) == 3
    first, *_ = chaos.told(tormented).splitlines()
    assert first == "3 kills survived: weights, data and numbers are those of an undisturbed run, to the byte"
    assert not tormented.processes()


def test_cells_side_by_side_make_the_same_bytes_also_after_an_interrupt(steady: Lab, tmp_path: Path) -> None:
    lab, log = Lab.copy(tmp_path / "lab", small, jobs=2), tmp_path / "jobs.log"
    try:
        running = lab.repro(log)
        # Of a Ctrl-C while Python starts, before a line of this project runs, it makes a traceback.
        while len(list(lab.root.glob(".cache/trials/finetune/*/seed-*.lock"))) < 2:
            assert running.poll() is None, log.read_text()
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 130
        chaos.check_after_kill(lab)
        first = log.read_text()
        stopped = re.match(r".*?(\d) of 7 cells done, [12] running", first.splitlines()[-1])
        assert stopped, first
        assert "Traceback" not in first
        chaos.undisturbed(lab, log)
        chaos.compare(steady, lab)
    finally:
        lab.end()
    left = 7 - int(stopped[1])  # two trainings may begin before or after the second pre-training ends
    assert f"[{left} of {left} cells done, 0 running, " in log.read_text()
