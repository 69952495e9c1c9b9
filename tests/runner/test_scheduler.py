"""Parallel cells: what they need comes first, no more run than requested, and a failure ends the run."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.core import paths
from pipeline.core.exits import exit_on_user_error
from pipeline.plan import Cell, Plan
from pipeline.runner import dvc_lock_repair, plan_status, scheduler
from pipeline.runner.durations import CellDurations
from pipeline.runner.dvc_process import DvcProcesses


class FakeDvc:
    """A DVC that records which commands run in parallel; a stage in ``failing`` ends with status 1."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.running, self.max_running = failing, 0, 0
        self.ended: list[str] = []
        self.words: list[Sequence[str]] = []
        self._lock = threading.Lock()

    def __call__(self, _: DvcProcesses, words: Sequence[str], print_line: Callable[[str], None]) -> int:
        if FIRST_STAGE in words:
            return int(self.failing == FIRST_STAGE)
        with self._lock:
            self.words.append(words)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        *_, last = words
        time.sleep(0.002)
        with self._lock:
            self.running -= 1
            self.ended.append(last)
        if last == "repro":
            assert not self.running
            for line in ("Running stage 'evaluate@x':", "> python -m pipeline.stages.evaluate", "evaluate x: 1 seed"):
                print_line(line)
            print_line("Updating lock file 'dvc.lock'")
        return int(last == self.failing)


FIRST_STAGE = scheduler.FIRST[0]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the shipped plan, all of it stale and none of it measured."""
    study = plan.load()
    monkeypatch.setattr(plan_status, "find_stale_cells", lambda _: {cell.address for cell in study.cells})
    monkeypatch.setattr("pipeline.runner.durations.read_trial_seconds", lambda _: {})
    return study


def start(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> FakeDvc:
    dvc = FakeDvc(failing)
    monkeypatch.setattr(DvcProcesses, "run", lambda *arguments: dvc(*arguments))
    return dvc


def list_training_cells(study: Plan) -> list[Cell]:
    return [cell for cell in study.cells if cell.stage not in ("evaluate", "benchmark")]


@pytest.mark.parametrize("jobs", [2, 3, 64])
def test_parallel_cells_run_after_those_that_they_need(study: Plan, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    dvc = start(monkeypatch)
    assert scheduler.run_plan(study, jobs) == 0
    assert sorted(dvc.ended[:-1]) == sorted(cell.address for cell in list_training_cells(study))
    places = {address: place for place, address in enumerate(dvc.ended)}
    for cell in list_training_cells(study):
        assert all(places[need] < places[cell.address] for need in cell.needs if need in places), cell
    assert dvc.max_running <= jobs
    assert jobs > 3 or dvc.max_running == jobs
    assert (dvc.ended.count("repro"), dvc.ended[-1]) == (1, "repro")


def test_the_longest_chain_starts_first() -> None:
    seconds = {"a": 1.0, "b": 3.0, "c": 5.0, "d": 1.0}
    needs = {"a": set[str](), "b": {"a"}, "c": set[str](), "d": {"b"}}
    assert scheduler.compute_chains(needs, seconds.__getitem__) == {"a": 5.0, "b": 4.0, "c": 5.0, "d": 1.0}


@pytest.mark.parametrize("largest", [20.0, 0.5])
def test_without_earlier_durations_the_long_cells_start_first_as_soon_as_they_are_known(
    study: Plan, monkeypatch: pytest.MonkeyPatch, largest: float
) -> None:
    add = CellDurations.add

    def add_fixed(durations: CellDurations, cell: Cell, _: float) -> None:
        add(durations, cell, (cell.ratio or 1) * (largest if cell.model == "starter-4x128" else 5))

    cells = {cell.address: cell for cell in study.cells}
    dvc = start(monkeypatch)
    monkeypatch.setattr(CellDurations, "add", add_fixed)
    assert scheduler.run_plan(study, 1) == 0
    grid = [cell for address in dvc.ended if (cell := cells.get(address)) and cell.stage == "finetune" and cell.task]
    if largest == 20.0:
        assert {cell.ratio for cell in grid[-6:]} == {0.1}
    else:
        assert {cell.model for cell in grid[-4:]} == {"starter-4x128"}
    place, other = (place for place, cell in enumerate(grid) if (cell.model, cell.ratio) == ("starter-4x128", 1.0))
    assert (other - place <= 2) == (largest == 20.0)


def test_a_plan_with_a_mistake_starts_nothing(study: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc = start(monkeypatch, failing=FIRST_STAGE)
    assert scheduler.run_plan(study, 2) == 1
    assert dvc.ended == []


def find_cell(study: Plan, name: str) -> Cell:
    return next(cell for cell in study.cells if cell.name.startswith(name) and cell.stage == "finetune")


def test_after_a_failure_no_cell_starts(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc = start(monkeypatch, failing=find_cell(study, "starter-swap-starter-3x96-1.0-standard").address)
    assert scheduler.run_plan(study, 2) == 1
    assert dvc.ended.count("repro") == 0
    assert len(dvc.ended) < len(list_training_cells(study))
    assert capsys.readouterr().err.startswith(
        f"{len(dvc.ended) - 1} of {len(study.cells)} cells done, 0 running, 1 failed, "
    )


def test_keep_going_runs_all_cells_that_do_not_need_the_failed_one(
    study: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = find_cell(study, "starter-swap-starter-3x96-1.0-standard").address
    dvc = start(monkeypatch, failing=failed)
    assert scheduler.run_plan(study, 2, keep_going=True) == 1
    blocked = {failed}
    for cell in study.cells:
        if blocked.intersection(cell.needs):
            blocked.add(cell.address)
    *_, last = dvc.words
    assert list(last[:3]) == ["repro", "--keep-going", "--single-item"]
    ran = {*dvc.ended[:-1], *last[3:]}
    assert ran == {cell.address for cell in study.cells} - blocked | {failed}
    assert failed not in last


def test_an_error_of_dvc_is_printed_and_nothing_starts(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(_: DvcProcesses, words: Sequence[str], print_line: Callable[[str], None]) -> int:
        assert "--quiet" not in words  # DVC would hide its errors
        print_line("Stage 'plan' didn't change, skipping")
        print_line("ERROR: Unable to acquire lock")
        return 255

    monkeypatch.setattr(DvcProcesses, "run", locked)
    assert scheduler.run_plan(study, 2) == 255
    assert capsys.readouterr() == ("ERROR: Unable to acquire lock\n", "")


def test_dvcs_own_progress_is_dropped_and_each_stage_is_counted(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan_status, "find_stale_cells", lambda _: set())
    start(monkeypatch)
    assert scheduler.run_plan(study, 2) == 0
    assert capsys.readouterr().out == "evaluate x: 1 seed\n"  # x is no cell of the plan


def test_a_machine_that_starts_no_process_costs_one_line(
    study: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: DvcProcesses, words: Sequence[str], __: Callable[[str], None]) -> int:
        if FIRST_STAGE in words:
            return 0
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(DvcProcesses, "run", fail)
    monkeypatch.setattr(dvc_lock_repair, "repair_files", lambda: None)
    with pytest.raises(SystemExit) as end, exit_on_user_error():
        scheduler.run_plan(study, 2)
    assert end.value.code == (
        "error: not enough memory ([Errno 12] Cannot allocate memory); end other programs, or use smaller batches "
        "or fewer processes, and run the same command again: finished work is saved"
    )
    assert capsys.readouterr().err.startswith(f"0 of {len(study.cells)} cells done, 2 running, about ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_every_dvc_and_the_list_of_locks_is_repaired(
    study: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    rwlock, stopped = tmp_path / "rwlock", threading.Event()

    def interrupt(_: DvcProcesses, words: Sequence[str], __: Callable[[str], None]) -> int:
        if FIRST_STAGE in words:
            return 0
        rwlock.write_text("")  # as if DVC was about to write it
        os.kill(os.getpid(), number)
        assert stopped.wait(60)
        return 130

    monkeypatch.setattr(DvcProcesses, "run", interrupt)
    monkeypatch.setattr(DvcProcesses, "stop", lambda _: stopped.set())
    monkeypatch.setattr(dvc_lock_repair, "RWLOCK", rwlock)
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        scheduler.run_plan(study, 2)
    assert end.value.code == 128 + number
    assert not rwlock.exists()
    assert signal.getsignal(number) == before


def test_a_signal_waits_until_a_cell_has_started_and_a_second_one_is_ignored() -> None:
    reached = []

    def start_cell() -> None:
        with scheduler.StopSignals() as signals:
            with signals.hold():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGHUP)
                reached.append("started")
            reached.append("after")

    with pytest.raises(SystemExit) as end:
        start_cell()
    assert (end.value.code, reached) == (128 + signal.SIGTERM, ["started"])
