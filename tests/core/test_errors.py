import pytest

from pipeline.core.arguments import Arguments
from pipeline.core.errors import LISTED, LONGEST, UserError, ending, line, near


def test_the_nearest_name_comes_first() -> None:
    assert near("mprc", ["cola", "mrpc"]) == "did you mean 'mrpc'? (allowed: cola, mrpc)"
    assert near("xyz", ["cola", "mrpc"]) == "allowed: cola, mrpc"
    assert near("xyz", []) == "nothing is allowed here"


def test_every_line_of_a_mistake_is_told_as_an_error() -> None:
    with pytest.raises(SystemExit) as end, ending("compare: "):
        raise UserError("one\nanother")
    assert end.value.code == "error: compare: one\nerror: compare: another"


def test_a_bug_is_no_mistake_of_the_user() -> None:
    with pytest.raises(ZeroDivisionError), ending():
        1 / 0  # noqa: B018


def test_ctrl_c_ends_a_command_in_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, ending("compare: "):
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_many_names_are_counted_rather_than_listed() -> None:
    told = near("none", range(1000, 1000 + LISTED + 7))
    assert told == f"allowed: {', '.join(map(str, range(1000, 1000 + LISTED)))} and 7 more"


def test_a_line_shows_what_cannot_be_shown_as_an_escape_and_is_cut_where_it_is_long() -> None:
    assert line("a\nb\x1b[31m\ud800\u202e é") == r"a\nb\x1b[31m\ud800\u202e é"
    assert line("x" * (LONGEST + 1)) == "x" * LONGEST + "..."


def test_a_wrong_word_of_a_command_is_one_line() -> None:
    parser = Arguments(prog="mine")
    with pytest.raises(SystemExit) as end, ending():
        parser.parse_args(["--a\nb"])
    assert end.value.code == r"error: unrecognized arguments: --a\nb; mine --help tells more"
