"""Progress of a run: counts, time left, and its display with and without a terminal."""

import sys

import pytest

from pipeline.runner import run_progress
from pipeline.runner.run_progress import RunProgress

WEIGHTS = {"prepare@starter-swap": 10.0, "pretrain@starter-2x64": 30.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only number is the present second."""
    now = [0.0]
    monkeypatch.setattr(run_progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_is_expected_seconds_scaled_by_the_elapsed_time(clock: list[float]) -> None:
    progress = RunProgress(WEIGHTS)
    assert progress.estimate_seconds_left() == 40
    progress.start_cell("prepare@starter-swap")
    clock[0] = 20.0
    assert progress.end_cell("prepare@starter-swap") == 20
    assert progress.estimate_seconds_left() == 60
    assert progress.describe() == "1 of 2 cells done, 0 running, 3.0 a minute, about 01:00 left"


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (61, "01:01"), (3599.6, "1:00:00")])
def test_seconds_are_formatted_as_minutes_and_hours(seconds: float, text: str) -> None:
    assert run_progress.format_seconds(seconds) == text


def test_without_a_terminal_each_finished_cell_is_a_line(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with RunProgress(WEIGHTS) as progress:
        progress.start_cell("prepare@starter-swap")
        progress.start_cell("pretrain@starter-2x64")
        progress.print_line("stopping: state is saved")
        progress.print_line("stopping: state is saved")
        progress.end_cell("prepare@starter-swap")
        progress.end_cell("pretrain@starter-2x64", failed=True)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "stopping: state is saved",
        "[1 of 2 cells done, 1 running, about 00:00 left]",
        "[1 of 2 cells done, 0 running, 1 failed, about 00:00 left]",
    ]
    assert err == ("1 of 2 cells done, 0 running, 1 failed, about 00:00 left; run the same command again to continue\n")


def test_on_a_terminal_it_is_one_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with RunProgress(WEIGHTS) as progress:
        progress.start_cell("prepare@starter-swap")
        progress.print_line("prepare starter-swap: 1 seed in 0.1 s")
        progress.end_cell("prepare@starter-swap")
        progress.start_cell("pretrain@starter-2x64")
    out, bar = capsys.readouterr()
    assert out == "prepare starter-swap: 1 seed in 0.1 s\n"
    assert "1 of 2 cells done, 1 running, " in bar
    assert ": pretrain@starter-2x64" in bar
