import pytest

from pipeline.core.errors import MAX_LINE_LENGTH, MAX_NAMES, UserError, format_line, suggest
from pipeline.core.exits import exit_on_user_error


def test_the_nearest_name_comes_first() -> None:
    assert suggest("mprc", ["cola", "mrpc"]) == "did you mean 'mrpc'? (allowed: cola, mrpc)"
    assert suggest("xyz", ["cola", "mrpc"]) == "allowed: cola, mrpc"
    assert suggest("xyz", []) == "nothing is allowed here"


def test_every_line_of_a_mistake_is_told_as_an_error() -> None:
    with pytest.raises(SystemExit) as end, exit_on_user_error("compare: "):
        raise UserError("one\nanother")
    assert end.value.code == "error: compare: one\nerror: compare: another"


def test_a_bug_is_no_mistake_of_the_user() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        1 / 0  # noqa: B018


def test_ctrl_c_ends_a_command_in_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, exit_on_user_error("compare: "):
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_many_names_are_counted_rather_than_listed() -> None:
    told = suggest("none", range(1000, 1000 + MAX_NAMES + 7))
    assert told == f"allowed: {', '.join(map(str, range(1000, 1000 + MAX_NAMES)))} and 7 more"


def test_a_line_shows_what_cannot_be_shown_as_an_escape_and_is_cut_where_it_is_long() -> None:
    assert format_line("a\nb\x1b[31m\ud800\u202e é") == r"a\nb\x1b[31m\ud800\u202e é"
    assert format_line("x" * (MAX_LINE_LENGTH + 1)) == "x" * MAX_LINE_LENGTH + "..."
