"""Several processes of one machine: they add up, agree, listen to nobody else, and end together."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.system import distributed
from pipeline.system.distributed import SINGLE_PROCESS
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes was told by the other."""
    folder = tmp_path_factory.mktemp("met")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        distributed.launch(2, "tests.processes", ["meet", str(folder)])
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_each_process_knows_its_place_and_the_first_one_leads(told: list[dict[str, Any]]) -> None:
    assert [each["group"] for each in told] == [[0, 2, True, True], [1, 2, False, False]]


def test_all_processes_get_the_sum_of_tensors_in_place_and_of_numbers(told: list[dict[str, Any]]) -> None:
    for each in told:
        assert each["add"] == each["in place"] == [10, 12, 14]
        assert each["total"] == 0.1 + 1.1  # in fp64


def test_the_first_process_decides_for_all(told: list[dict[str, Any]]) -> None:
    assert [each["agree"] for each in told] == [[True, False]] * 2


def test_nobody_goes_on_before_all_have_come(told: list[dict[str, Any]]) -> None:
    assert [each["waited"] for each in told] == [True, True]


def test_nothing_listens_beyond_this_machine(told: list[dict[str, Any]]) -> None:
    for each in told:
        process, launcher = each["listens"]
        assert process  # gloo's processes reach each other at a port
        assert {*process, *launcher} <= {"127.0.0.1", "::1"}


def test_a_process_that_fails_is_named_and_takes_the_others_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before, begun = dict(os.environ), psutil.Process().children(recursive=True)
    with pytest.raises(UserError) as error:
        distributed.launch(2, "tests.processes", ["fail", str(tmp_path)])
    assert str(error.value) == "process 2 of 2 ended with status 3; see its output above"
    assert dict(os.environ) == before
    assert distributed.RENDEZVOUS not in before  # nor did the launch before this one leave it
    assert psutil.Process().children(recursive=True) == begun
    for rank in "01":
        assert not psutil.pid_exists(int((tmp_path / rank).read_text()))
    assert not list((tmp_path / "temporary").iterdir())


def test_one_process_is_a_group_of_its_own_that_asks_nobody() -> None:
    tensor = torch.arange(3.0)
    assert distributed.get_group() == SINGLE_PROCESS
    assert (
        SINGLE_PROCESS.is_rank_zero,
        SINGLE_PROCESS.sum_number(0.5),
        SINGLE_PROCESS.broadcast(False),
        SINGLE_PROCESS.broadcast(True),
    ) == (True, 0.5, False, True)
    assert SINGLE_PROCESS.all_reduce(tensor) is tensor
    with distributed.init_process_group():
        assert distributed.get_group() == SINGLE_PROCESS
