"""A `_target_` is called with the arguments of its conf file, and a wrong one is told before it runs."""

from typing import Any

import pytest

from pipeline import target
from pipeline.errors import UserError

HERE = "conf/task/mine.yaml: source"


def refusal(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        target.call(settings, HERE)
    return str(error.value)


def test_the_function_gets_its_own_arguments_and_of_the_given_ones_those_it_takes() -> None:
    settings = {"_target_": "pipeline.mirror.advice", "mirror": None, "kind": "data"}
    told = target.call(settings, HERE, name="mine", log=None)
    assert told == "no mirror is named; put data/mine/ into a folder that LAB_MIRROR names, or go online"


def test_a_function_that_is_not_there_is_told() -> None:
    assert refusal(_target_="pipeline.mirror.fetch") == (
        f"{HERE}: _target_: got 'pipeline.mirror.fetch', but pipeline.mirror has no function 'fetch'"
    )
    assert refusal(_target_="pipeline.absent.fetch") == (
        f"{HERE}: _target_: got 'pipeline.absent.fetch', which cannot be imported (No module named 'pipeline.absent')"
    )
    assert refusal() == f"{HERE}: _target_: got None, which cannot be imported (Empty module name)"


def test_an_argument_that_it_does_not_take_is_told_with_the_nearest() -> None:
    assert refusal(_target_="pipeline.data.sources.glue", config="mrpc", revison="0") == (
        f"{HERE}: revison: not an argument of glue; did you mean 'revision'? (allowed: config, revision)"
    )


def test_a_missing_argument_is_told() -> None:
    assert refusal(_target_="pipeline.data.sources.glue", config="mrpc") == (
        f"{HERE}: revision: missing; glue takes config, revision"
    )


def test_what_the_function_raises_comes_through_as_it_is() -> None:
    assert refusal(_target_="pipeline.data.sources.files", path="absent/folder") == (
        "source.path: absent/folder: no such folder"
    )
