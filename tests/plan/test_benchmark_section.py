"""The section benchmark of the plan."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import plan
from pipeline.core import paths
from tests.plan.test_plan_check import SOUND, mistakes

BENCHMARK: dict[str, Any] = {
    "task": "mrpc", "models": ["bert-tiny", "bert-mini"], "processes": [1, 2], "threads": [1], "precisions": ["bf16"],
    "batches": [32],
}  # fmt: skip
KEYS = "task, models, processes, threads, precisions, batches"


def find(**changed: Any) -> list[str]:
    return mistakes(benchmark={**BENCHMARK, **changed})


def test_a_sound_section_has_no_mistakes() -> None:
    assert find() == find(models=[]) == []


@pytest.mark.parametrize(("given", "got"), [(None, "nothing"), ([], "[]"), (3, "3")])
def test_the_section_is_a_mapping(given: object, got: str) -> None:
    assert mistakes(benchmark=given) == [f"benchmark: got {got}; write {KEYS}, with models: [] for no benchmark"]


def test_unknown_and_missing_keys_are_told() -> None:
    given = {key: value for key, value in BENCHMARK.items() if key != "threads"}
    assert mistakes(benchmark={**given, "thread": [1]}) == [
        "benchmark.threads: missing; give a list of whole numbers from 1",
        "benchmark.thread: unknown key; did you mean 'threads'? "
        "(allowed: batches, models, precisions, processes, task, threads)",
    ]


@pytest.mark.parametrize("axis", ["processes", "threads", "batches"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, None])
def test_a_number_is_whole_and_positive(axis: str, value: object) -> None:
    assert find(**{axis: [value]}) == [
        f"benchmark.{axis}[0]: got {'nothing' if value is None else repr(value)}; give a whole number from 1"
    ]


def test_a_precision_is_one_that_is_known() -> None:
    assert find(precisions=["auto", "bf16", "fp32"]) == []
    assert find(precisions=["bf61"]) == [
        "benchmark.precisions[0]: got 'bf61'; did you mean 'bf16'? (allowed: auto, bf16, fp32)"
    ]


def test_an_axis_is_a_list_without_repetition() -> None:
    assert find(threads=1) == ["benchmark.threads: got 1; give a list of whole numbers from 1"]
    assert find(threads=[2, 2]) == ["benchmark.threads: 2 is there 2 times; keep one"]


def test_what_is_timed_is_made_by_the_plan() -> None:
    assert find(task="rte", models=["bert-base"]) == [
        "benchmark.task: no cell makes 'rte'; add it to tasks, or name one of them (mrpc, cola)",
        "benchmark.models: no cell makes 'bert-base'; add it to models, or name one of them (bert-tiny, bert-mini)",
    ]


def test_a_batch_is_shared_evenly() -> None:
    assert find(batches=[32, 15], processes=[1, 2]) == [
        "benchmark.batches: 15 rows cannot be shared evenly by 2 processes; give a multiple"
    ]


def test_every_point_is_a_cell_that_needs_its_data_and_its_model(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(str({**SOUND, "benchmark": BENCHMARK}).replace("'", '"'))
    cells = plan.load(tmp_path / "params.yaml").benchmarked()
    assert [cell.address for cell in cells] == [
        f"benchmark@{model}-{processes}-1-bf16-32" for model in ("bert-tiny", "bert-mini") for processes in (1, 2)
    ]
    assert cells[0].needs == ("prepare@mrpc", "pretrain@bert-tiny")
    assert [cell.name for cell in plan.load(paths.PARAMS).benchmarked()]
