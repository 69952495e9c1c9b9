"""The harness of kills over a plan of a few cells; `make chaos` is the same over the shipped one."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import chaos
from tests.chaos import Lab

SEED = 180  # of three kills: of a trial, of DVC's process group, and of DVC while it commits


def small(root: Path) -> None:
    """Leave one model, one share of one task and two seeds of the plan, and no comparison."""
    chaos.frequent(root)
    yaml = YAML()

    def fewer(plan: Any) -> None:
        plan["tasks"], plan["models"], plan["ratios"], plan["seeds"] = ["starter-swap"], ["starter-2x64"], [0.1], [0, 1]
        plan["variants"], plan["distill"], plan["compress"], plan["benchmark"]["models"] = {}, {}, {}, []

    def shorter(pipeline: Any) -> None:
        del pipeline["stages"]["compare"], pipeline["plots"]

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
