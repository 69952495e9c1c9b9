"""How long a run has left: from what its own cells took, else from the run before, else a guess."""

import sys

import pytest

from pipeline import plan
from pipeline.runner import plan_status, run_progress
from pipeline.runner.run_progress import Board, Pace

GRID = "finetune@starter-swap-starter-{}-{}"
EVALUATION = "evaluate@starter-swap-starter-{}-{}"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """Return the pace of the shipped plan of which the run before measured the evaluations, 7 s each."""
    study = plan.load()
    monkeypatch.setattr(
        plan_status, "expected_seconds", lambda cell, *_: (7.0 if cell.stage == "evaluate" else None, "")
    )
    return Pace(study, study.cells, {cell.address for cell in study.cells if cell.stage == "finetune"}, 2)


def test_a_cell_takes_as_long_as_the_likest_that_has_ended(known: Pace) -> None:
    assert known.expected(GRID.format("2x64", 1.0)) == run_progress.GUESS_SECONDS
    known.took("prepare@starter-swap", 1.0)
    assert known.expected(GRID.format("2x64", 1.0)) == 1.0  # of anything
    known.took(GRID.format("2x64", 0.1), 2.0)
    assert known.expected(GRID.format("3x96", 1.0)) == 2.0  # of its stage
    known.took(GRID.format("2x64", 1.0), 10.0)
    assert known.expected(GRID.format("3x96", 1.0)) == 10.0  # and of its share of the rows
    assert known.expected(GRID.format("3x96", 0.1)) == 2.0
    known.took(GRID.format("3x96", 1.0), 30.0)
    assert known.expected("finetune@starter-nest-starter-3x96-1.0") == 30.0  # and of its model
    assert known.expected(EVALUATION.format("3x96", 1.0)) == 7.0


def test_where_nothing_is_known_fewer_rows_are_guessed_to_take_less(known: Pace) -> None:
    assert known.expected(GRID.format("2x64", 0.1)) == pytest.approx(0.1 * run_progress.GUESS_SECONDS)


def test_the_run_before_is_scaled_by_what_this_one_has_shown_of_the_stage(known: Pace) -> None:
    known.took(EVALUATION.format("2x64", 1.0), 14.0)
    assert known.expected(EVALUATION.format("3x96", 1.0)) == 14.0
    known.took(EVALUATION.format("2x64", 0.1), 28.0)
    assert known.expected(EVALUATION.format("3x96", 1.0)) == 21.0  # three times as long in the middle
    assert known.expected(EVALUATION.format("2x64", 1.0)) == 14.0  # itself


def test_what_runs_side_by_side_takes_its_part_of_the_time(known: Pace) -> None:
    known.took(GRID.format("2x64", 1.0), 10.0)
    assert known.left([GRID.format("3x96", 1.0), GRID.format("2x96", 1.0)]) == 10.0
    assert (
        known.left(
            [
                "evaluate@starter-swap-starter-3x96-1.0",
                "evaluate@starter-nest-starter-3x96-1.0",
            ]
        )
        == 14.0
    )


def test_without_a_terminal_each_end_is_a_line(known: Pace, capsys: pytest.CaptureFixture[str]) -> None:
    total = len(known.cells)
    with Board(known) as board:
        board.begins("prepare@starter-swap")
        board.begins("prepare@starter-nest")
        board.say("stopping: all is safe")
        board.say("stopping: all is safe")
        board.ends("prepare@starter-swap")
        board.ends("prepare@starter-nest", well=False)
    said, sum_ = capsys.readouterr()
    first, second, third = said.splitlines()
    assert first == "stopping: all is safe"
    assert second.startswith(f"[1 of {total} cells done, 1 at work, about ")
    assert third.startswith(f"[1 of {total} cells done, 0 at work, 1 failed, about ")
    assert sum_.endswith(" left; the same command goes on from there\n")


def test_on_a_terminal_it_is_one_bar(
    known: Pace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Board(known) as board:
        board.begins("prepare@starter-swap")
        board.say("prepare starter-swap: 1 seed in 0.1 s")
        board.ends("prepare@starter-swap")
        board.begins("pretrain@starter-2x64")
    said, bar = capsys.readouterr()
    assert said == "prepare starter-swap: 1 seed in 0.1 s\n"
    assert f"1 of {len(known.cells)} cells done, 1 at work, about " in bar
    assert ": pretrain@starter-2x64" in bar
