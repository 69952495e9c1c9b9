"""Cells side by side: what they need comes first, no more of them than were asked for, and a failure ends the run."""

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.cli import run as command
from pipeline.core import paths
from pipeline.core.exits import exit_on_user_error
from pipeline.plan import Cell, Plan
from pipeline.runner import dvc_process, plan_status, scheduler
from pipeline.runner.run_progress import Pace
from pipeline.system import dvc_lock_repair, preload


class Told:
    """A DVC that notes what runs beside what; a stage in ``failing`` ends with status 1."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.running, self.most = failing, 0, 0
        self.ended: list[str] = []
        self.alone = 0

    async def __call__(self, words: Sequence[str], say: Callable[[str], None]) -> int:
        if "code-digests" in words:
            return int(self.failing == "plan")
        self.running += 1
        self.most = max(self.most, self.running)
        *_, last = words
        await asyncio.sleep(0)
        self.running -= 1
        if last == "repro":
            self.alone += 1
            assert not self.running
            for line in ("Running stage 'evaluate@x':", "> python -m pipeline.stages.evaluate", "evaluate x: 1 seed"):
                say(line)
            say("Updating lock file 'dvc.lock'")
        self.ended.append(last)
        return int(last == self.failing)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the shipped plan, all of it stale and none of it measured."""
    study = plan.load()
    monkeypatch.setattr(plan_status, "stale_cells", lambda _: {cell.address for cell in study.cells})
    monkeypatch.setattr(plan_status, "expected_seconds", lambda *_: (None, ""))
    return study


def beside(study: Plan) -> list[Cell]:
    return [cell for cell in study.cells if cell.stage not in ("evaluate", "benchmark")]


@pytest.mark.parametrize("jobs", [2, 3, 64])
def test_cells_run_side_by_side_behind_those_that_they_need(
    study: Plan, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    dvc = Told()
    monkeypatch.setattr(dvc_process, "run", dvc)
    assert asyncio.run(scheduler.reproduce(study, jobs)) == 0
    assert sorted(dvc.ended[:-1]) == sorted(cell.address for cell in beside(study))
    places = {address: place for place, address in enumerate(dvc.ended)}
    for cell in beside(study):
        assert all(places[need] < places[cell.address] for need in cell.needs if need in places), cell
    assert dvc.most == min(jobs, 30 + 1)  # the grid, and the variant
    assert (dvc.alone, dvc.ended[-1]) == (1, "repro")


def test_the_longest_way_to_an_end_is_begun_first() -> None:
    seconds = {"a": 1.0, "b": 3.0, "c": 5.0, "d": 1.0}
    needs = {"a": set[str](), "b": {"a"}, "c": set[str](), "d": {"b"}}
    assert scheduler._ranks(needs, seconds.__getitem__) == {"a": 5.0, "b": 4.0, "c": 5.0, "d": 1.0}


@pytest.mark.parametrize("largest", [20.0, 0.5])
def test_of_a_plan_of_which_nothing_was_known_the_long_cells_come_first_as_soon_as_they_are(
    study: Plan, monkeypatch: pytest.MonkeyPatch, largest: float
) -> None:
    cells = {cell.address: cell for cell in study.cells}
    took = Pace.took

    def takes(pace: Pace, address: str, _: float) -> None:
        if cell := cells.get(address):
            took(pace, address, (cell.ratio or 1) * (largest if cell.model == "starter-4x128" else 5))

    dvc = Told()
    monkeypatch.setattr(dvc_process, "run", dvc)
    monkeypatch.setattr(Pace, "took", takes)
    assert asyncio.run(scheduler.reproduce(study, 2)) == 0
    grid = [cell for address in dvc.ended if (cell := cells.get(address)) and cell.stage == "finetune" and cell.task]
    assert {cell.ratio for cell in grid[-6:]} == {0.1}
    place, other = (place for place, cell in enumerate(grid) if (cell.model, cell.ratio) == ("starter-4x128", 1.0))
    assert (other - place <= 2) == (largest == 20.0)


def test_one_job_is_a_plain_dvc_repro(study: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc = Told()
    monkeypatch.setattr(dvc_process, "run", dvc)
    assert asyncio.run(scheduler.reproduce(study, 1)) == 0
    assert dvc.ended == ["repro"]


def test_a_plan_with_a_mistake_begins_nothing(study: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc = Told(failing="plan")
    monkeypatch.setattr(dvc_process, "run", dvc)
    assert asyncio.run(scheduler.reproduce(study, 2)) == 1
    assert dvc.ended == []


def test_after_a_failure_nothing_new_begins(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc = Told(failing="finetune@starter-swap-starter-3x96-1.0")
    monkeypatch.setattr(dvc_process, "run", dvc)
    assert asyncio.run(scheduler.reproduce(study, 2)) == 1
    assert dvc.alone == 0
    assert not any(address.startswith(("distill", "compress")) for address in dvc.ended)
    assert len(dvc.ended) < len(beside(study))
    total = len(study.cells)
    assert capsys.readouterr().err.startswith(
        f"{len(dvc.ended) - 1} of {total} cells done, 0 at work, 1 failed, about "
    )


def test_what_dvc_cannot_do_is_told_and_nothing_begins(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def locked(words: Sequence[str], say: Callable[[str], None]) -> int:
        assert "--quiet" not in words  # by which DVC would hide its errors
        say("Stage 'plan' didn't change, skipping")
        say("ERROR: Unable to acquire lock")
        return 255

    monkeypatch.setattr(dvc_process, "run", locked)
    assert asyncio.run(scheduler.reproduce(study, 2)) == 255
    assert capsys.readouterr() == ("ERROR: Unable to acquire lock\n", "")


def test_what_dvc_says_of_itself_is_left_out_and_each_stage_is_counted(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dvc_process, "run", Told())
    assert asyncio.run(scheduler.reproduce(study, 1)) == 0
    assert capsys.readouterr().out == "evaluate x: 1 seed\n"  # x is no cell of the plan


def test_a_machine_that_starts_no_process_is_told_in_a_line(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def none_left(words: Sequence[str], _: Callable[[str], None]) -> int:
        if "code-digests" in words:
            return 0
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(dvc_process, "run", none_left)
    monkeypatch.setattr(preload, "start_server", lambda: None)
    with pytest.raises(SystemExit) as ended, exit_on_user_error():
        command.run_parallel(2)
    assert ended.value.code == (
        "error: not enough memory ([Errno 12] Cannot allocate memory); end other programs, or ask for smaller batches "
        "or fewer processes at once, and run the same command again: what is finished is kept"
    )
    total = len(study.cells)
    assert capsys.readouterr().err.startswith(f"0 of {total} cells done, 2 at work, about ")


def test_an_interrupted_dvc_leaves_no_list_of_locks_that_none_can_read(
    study: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    locks = tmp_path / "rwlock"

    async def interrupted(*_: object) -> int:
        locks.write_text("")  # as where DVC was about to write it
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
        return 0

    monkeypatch.setattr(dvc_process, "run", interrupted)
    monkeypatch.setattr(preload, "start_server", lambda: None)
    monkeypatch.setattr(dvc_lock_repair, "LOCKS", locks)
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    assert command.run_parallel(2) == 130
    assert not locks.exists()
