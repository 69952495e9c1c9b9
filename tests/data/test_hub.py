"""Nothing here asks the Hub: the questions are the tests' own."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data import hub


def test_an_answer_comes_through_as_it_is() -> None:
    assert hub.ask("a/b", lambda: ["config.json"]) == ["config.json"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("no route\nand much more"), "ConnectionError: no route"),
        (RuntimeError(), "RuntimeError: no reason given"),
    ],
)
def test_whatever_goes_wrong_is_one_line(error: Exception, reason: str) -> None:
    def question() -> None:
        raise error

    with pytest.raises(hub.Away) as caught:
        hub.ask("a/b at 0123", question)
    assert str(caught.value) == f"a/b at 0123: nothing came from the Hub ({reason})"
    assert caught.value.__cause__ is error


def test_a_mistake_of_the_user_is_not_taken_for_the_hubs_silence() -> None:
    def question() -> None:
        raise UserError("conf/model/mine.yaml: repo: missing")

    with pytest.raises(UserError) as caught:
        hub.ask("a/b", question)
    assert not isinstance(caught.value, hub.Away)


@pytest.mark.parametrize(("value", "kept"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_hubs_own_variable_keeps_it_offline(monkeypatch: pytest.MonkeyPatch, value: str, kept: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub.offline() is kept


def test_a_hub_that_is_away_is_told_by_repository_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Api:
        def model_info(self, repo: str, *, revision: str, timeout: float) -> None:
            raise TimeoutError(f"{repo} did not answer within {timeout} s")

        dataset_info = model_info

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(hub.Away) as caught:
        hub.names("a/b", "0123456789abcdef", "model")
    assert str(caught.value) == (
        "a/b at 0123456789ab: nothing came from the Hub (TimeoutError: a/b did not answer within 10 s)"
    )
