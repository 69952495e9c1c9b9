import pytest

from pipeline.errors import UserError, ending, near


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
