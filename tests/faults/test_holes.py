"""A damaged record is named; one that does not match the plan, or its own source, leaves a hole with the reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.analysis.report.tables import score_tables
from pipeline.analysis.results import cell_table, notices, trial_table
from pipeline.analysis.results.cell_table import CellCoordinates
from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.plan.cells import Compress
from tests import fakes

TINY, MINI = "finetune/mrpc-bert-tiny-0.3-standard", "finetune/mrpc-bert-mini-0.3-standard"
PLAN = Plan(
    ("mrpc",), ("bert-tiny", "bert-mini"), (0.3,), ("standard",), (0, 1, 2), fakes.NO_BENCHMARK,
    compress={"small": Compress(source=TINY, compression="heads")},
)  # fmt: skip
POINT = CellCoordinates(
    "mrpc-bert-tiny-0.3-standard", "mrpc", "bert-tiny", 0.3, "standard", "evaluate@mrpc-bert-tiny-0.3-standard"
)
SMALL = CellCoordinates(
    "small", "mrpc", "bert-tiny", 0.3, "standard", "evaluate-compress@small",
    section="compress", source=TINY, method="heads",
)  # fmt: skip


def of(record: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Return a record that says which training of its source it was made of."""
    tags = {**record["tags"], "source_sha256": source["sha256"]}
    return records.sign({**record, "source": f"{source['stage']}/{source['cell']}", "tags": tags})


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the records of a training and of its compression, and the evaluations of both."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    training = fakes.finetuning("mrpc", "bert-tiny", 0.3)
    evaluated = fakes.evaluation("mrpc", "bert-tiny", 0.3)
    made = {"cell": "small", "compression": "heads"}
    small = of(training | made | {"stage": "compress"}, training)
    fakes.write(tmp_path, [training, small, of(evaluated, training), of(evaluated | made, small)])
    fakes.prepare(tmp_path, PLAN)
    return tmp_path / "metrics"


def read_rows(metrics: Path, plan: Plan = PLAN) -> list[cell_table.CellRow]:
    return cell_table.read_rows([POINT, SMALL], metrics / "evaluate", plan.describe_cells())


def holes(metrics: Path, plan: Plan = PLAN) -> list[str | None]:
    rows = read_rows(metrics, plan)
    read = trial_table.read_trials([POINT, SMALL], metrics / "evaluate", plan.describe_cells())
    assert {row.cell for row in rows if row.score is not None} == {trial.point.cell for trial in read}
    return [row.missing_reason for row in rows]


def trained_again(metrics: Path) -> None:
    path = metrics / "finetune" / "mrpc-bert-tiny-0.3-standard.json"
    content = json.loads(path.read_text())
    content["trials"][0]["train_seconds"] += 1
    path.write_text(json.dumps(records.sign(content)))


def test_what_was_made_of_the_training_that_stands_counts(metrics: Path) -> None:
    assert holes(metrics) == [None, None]


def test_an_evaluation_of_an_earlier_training_is_a_hole_and_so_is_all_that_was_made_of_it(metrics: Path) -> None:
    trained_again(metrics)
    assert holes(metrics) == [
        "made from an earlier training of finetune/mrpc-bert-tiny-0.3-standard",
        "made from an earlier training of finetune/mrpc-bert-tiny-0.3-standard",
    ]


def test_an_evaluation_whose_training_has_failed_since_is_a_hole(metrics: Path) -> None:
    (metrics / "finetune" / "mrpc-bert-tiny-0.3-standard.json").unlink()  # as DVC does before it runs the cell
    assert holes(metrics) == [
        "finetune/mrpc-bert-tiny-0.3-standard has no results",
        "finetune/mrpc-bert-tiny-0.3-standard has no results",
    ]


@pytest.mark.parametrize("made_by", ["prepare/mrpc", "pretrain/bert-tiny"])
def test_a_result_whose_data_or_model_could_not_be_made_again_is_a_hole(metrics: Path, made_by: str) -> None:
    (metrics / f"{made_by}.json").unlink()
    assert holes(metrics) == [f"{made_by} has no results", f"{made_by} has no results"]


def test_a_hole_is_shown_with_its_reason(metrics: Path) -> None:
    trained_again(metrics)
    rows = read_rows(metrics)
    assert score_tables.format_overview(rows) == "0 of 2 cells have results."
    assert notices.collect_notices(rows) == [
        "metrics/evaluate/mrpc-bert-tiny-0.3-standard.json and 1 more: made from an earlier training of "
        "finetune/mrpc-bert-tiny-0.3-standard; run `dvc repro`"
    ]
    (table,) = score_tables.create_tables(rows)
    assert table.format_rows()[0][4] == "outdated"
    assert table.notes == (f"{TINY.removeprefix('finetune/')}: made from an earlier training of {TINY}",)


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        (
            replace(PLAN, compress={"small": Compress(source=MINI, compression="heads")}),
            "made with model bert-tiny, but the plan has bert-mini",
        ),
        (
            replace(PLAN, compress={"small": Compress(source=TINY, compression="width")}),
            "made with compression heads, but the plan has width",
        ),
        (replace(PLAN, seeds=(0, 1)), "made with seeds 0, 1, 2, but the plan has seeds 0, 1"),
        (replace(PLAN, seeds=(3,)), "made with seeds 0, 1, 2, but the plan has seed 3"),
        (replace(PLAN, compress={}), "the plan has no such cell"),
    ],
)
def test_a_record_counts_only_if_it_is_what_the_plan_has(metrics: Path, edited: Plan, reason: str) -> None:
    assert holes(metrics, edited)[1] == reason


def test_the_order_of_the_seeds_does_not_matter(metrics: Path) -> None:
    assert holes(metrics, replace(PLAN, seeds=(2, 0, 1))) == [None, None]


def test_a_result_does_not_count_if_its_source_is_not_what_the_plan_has(metrics: Path) -> None:
    path = metrics / "compress" / "small.json"
    content = json.loads(path.read_text())
    content["compression"] = "width"
    path.write_text(json.dumps(records.sign(content)))
    evaluated = json.loads((metrics / "evaluate" / "small.json").read_text())
    (metrics / "evaluate" / "small.json").write_text(json.dumps(of(evaluated, json.loads(path.read_text()))))
    assert holes(metrics) == [
        None,
        "compress/small does not count: made with compression width, but the plan has heads",
    ]


def test_a_result_whose_records_name_each_other_as_source_ends_with_a_reason(metrics: Path) -> None:
    path = metrics / "finetune" / "mrpc-bert-tiny-0.3-standard.json"
    content = json.loads(path.read_text())
    content |= {"source": "compress/small", "tags": {**content["tags"], "source_sha256": "0" * 64}}
    path.write_text(json.dumps(records.sign(content)))
    assert holes(metrics)[1] == "made from an earlier training of finetune/mrpc-bert-tiny-0.3-standard"


@pytest.mark.parametrize("stage", ["evaluate", "finetune"])
@given(data=st.data())
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_record_goes_unseen(metrics: Path, stage: str, data: st.DataObject) -> None:
    path = metrics / stage / "mrpc-bert-tiny-0.3-standard.json"
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.sampled_from([b"", b"0", b"7", b"e", b'"', b"}", b"\0", b"\xff"]))
    harmed = content[:at] + other + content[at + 1 :] if other else content[:at]
    path.write_bytes(harmed)
    try:
        if harmed == content or same(harmed, content):
            assert holes(metrics) == [None, None]
            return
        with pytest.raises(UserError, match=rf"^metrics/{stage}/mrpc-bert-tiny-0.3-standard.json: ") as error:
            holes(metrics)
        assert str(error.value).endswith("; remove it, then run `dvc repro`")
    finally:
        path.write_bytes(content)


def same(one: bytes, other: bytes) -> bool:
    """Say whether two texts are JSON of the same content."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text[:-20], "truncated or changed: it is not JSON"),
        (lambda text: "", "truncated or changed: it is not JSON"),
        (lambda text: "[" * 100_000, "truncated or changed: it is not JSON"),
        (lambda text: "[1]", "changed: it is not a record"),
        (lambda text: "{}", "schema: got None, but this version reads 3"),
        (
            lambda text: text.replace('"seed": 1', '"seed": 7', 1),
            "changed: its sha256 does not match its content",
        ),
    ],
)
def test_a_damaged_record_is_one_line(metrics: Path, harm: Callable[[str], str], message: str) -> None:
    path = metrics / "evaluate" / "small.json"
    path.write_text(harm(path.read_text()))
    with pytest.raises(UserError) as error:
        records.read_record(path)
    assert str(error.value) == f"metrics/evaluate/small.json: {message}; remove it, then run `dvc repro`"


@pytest.mark.parametrize("value", [None, "absent"])
def test_a_result_without_a_score_is_a_line(metrics: Path, value: str | None) -> None:
    path = metrics / "evaluate" / "small.json"
    content = json.loads(path.read_text())
    content["trials"][1]["score"] = value
    if value:
        del content["trials"][1]["score"]
    path.write_text(json.dumps(records.sign(content)))
    with pytest.raises(UserError) as error:
        read_rows(metrics)
    assert str(error.value) == (
        "metrics/evaluate/small.json: seed 1: no score, which the comparison needs; remove it, then run `dvc repro`"
    )
