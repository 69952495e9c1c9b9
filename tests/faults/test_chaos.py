"""The harness of kills over a plan of a few cells; `make chaos` is the same over the shipped one."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests import chaos

KILLS = 4


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


def test_a_plan_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    lab = chaos.run(KILLS, 7, tmp_path, small)
    assert len(lab.kills) == KILLS
    first, *_ = chaos.told(lab).splitlines()
    assert first == "4 kills survived: weights, data and numbers are those of an undisturbed run, to the byte"
    assert not lab.processes()


def test_two_at_once_corrupt_nothing(tmp_path: Path) -> None:
    lab = chaos.Lab.copy(tmp_path / "lab", small)
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    try:
        both = [lab.repro(log) for log in logs]
        ended = [process.wait() for process in both]
        assert 0 in ended
        for status, log in zip(ended, logs, strict=True):
            assert status == 0 or re.search("Unable to acquire lock|is busy, it is being blocked by", log.read_text())
        assert lab.repro(tmp_path / "after.log").wait() == 0
        chaos.check_after_kill(lab)
        chaos.check_at_end(lab)
    finally:
        lab.end()
