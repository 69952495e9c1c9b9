import pytest

from pipeline.execution import progress_bar
from pipeline.execution.progress_bar import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time as a list of one number."""
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress_bar.sys.stderr, "isatty", lambda: False)
    return now


def test_away_from_a_terminal_a_line_comes_every_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(100, "step", "finetune") as bar:
        for _ in range(50):
            clock[0] += 0.5
            bar.update(2, loss=0.12345)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "finetune:  40% 40/100 [00:10<00:15,  4.00step/s], loss 0.123",
        "finetune:  80% 80/100 [00:20<00:05,  4.00step/s], loss 0.123",
    ]
    assert bar.done == 100


def test_short_work_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "step", "finetune") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_and_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar.sys.stderr, "isatty", lambda: True)
    with Progress(2, "step", "finetune") as bar:
        bar.update(2, loss=0.5)
    told = capsys.readouterr()
    assert told.out == ""
    assert "finetune:   0%" in told.err
