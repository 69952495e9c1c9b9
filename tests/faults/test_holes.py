"""A record that was altered or cut short is named; one of an earlier training is a hole with its reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import paths, records
from pipeline.errors import UserError
from pipeline.scaling import table, trials
from pipeline.scaling.table import Point
from tests import fakes

POINT = Point("mrpc-bert-tiny-0.3", "mrpc", "bert-tiny", 0.3, "standard", "evaluate@mrpc-bert-tiny-0.3")
SMALL = Point(
    "small", "mrpc", "bert-tiny", 0.3, "standard", "evaluate-compress@small",
    section="compress", source="finetune/mrpc-bert-tiny-0.3", method="heads",
)  # fmt: skip


def of(record: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Return a record that says which training of its source it was made of."""
    tags = {**record["tags"], "source_sha256": source["sha256"]}
    return records.sealed({**record, "source": f"{source['stage']}/{source['cell']}", "tags": tags})


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the records of a training and of its compression, and the evaluations of both."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    training = fakes.finetuning("mrpc", "bert-tiny", 0.3)
    evaluated = fakes.evaluation("mrpc", "bert-tiny", 0.3)
    small = of(training | {"stage": "compress", "cell": "small"}, training)
    fakes.write(tmp_path, [training, small, of(evaluated, training), of(evaluated | {"cell": "small"}, small)])
    return tmp_path / "metrics"


def holes(metrics: Path) -> list[str | None]:
    rows = table.read([POINT, SMALL], metrics / "evaluate")
    told = {trial.point.cell for trial in trials.read([POINT, SMALL], metrics / "evaluate")}
    assert {row.cell for row in rows if row.score is not None} == told
    return [row.hole for row in rows]


def trained_again(metrics: Path) -> None:
    path = metrics / "finetune" / "mrpc-bert-tiny-0.3.json"
    content = json.loads(path.read_text())
    content["trials"][0]["train_seconds"] += 1
    path.write_text(json.dumps(records.sealed(content)))


def test_what_was_made_of_the_training_that_stands_counts(metrics: Path) -> None:
    assert holes(metrics) == [None, None]


def test_an_evaluation_of_an_earlier_training_is_a_hole_and_so_is_all_that_was_made_of_it(metrics: Path) -> None:
    trained_again(metrics)
    assert holes(metrics) == [
        "of an earlier training of finetune/mrpc-bert-tiny-0.3",
        "compress/small is a hole as well: of an earlier training of finetune/mrpc-bert-tiny-0.3",
    ]


def test_an_evaluation_whose_training_has_failed_since_is_a_hole(metrics: Path) -> None:
    (metrics / "finetune" / "mrpc-bert-tiny-0.3.json").unlink()  # as DVC does before it runs the cell
    assert holes(metrics) == [
        "finetune/mrpc-bert-tiny-0.3 has no results",
        "compress/small is a hole as well: finetune/mrpc-bert-tiny-0.3 has no results",
    ]


def test_a_hole_is_told_with_its_reason(metrics: Path) -> None:
    trained_again(metrics)
    rows = table.read([POINT, SMALL], metrics / "evaluate")
    assert table.overview(rows) == (
        "0 of 2 cells have results; cells that were evaluated once and do not count: 2, the first is "
        "mrpc-bert-tiny-0.3: of an earlier training of finetune/mrpc-bert-tiny-0.3; `dvc repro` fills them."
    )
    assert table.cells(rows[0])[4] == "outdated"


@pytest.mark.parametrize("stage", ["evaluate", "finetune"])
@given(data=st.data())
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_record_goes_unseen(metrics: Path, stage: str, data: st.DataObject) -> None:
    path = metrics / stage / "mrpc-bert-tiny-0.3.json"
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.sampled_from([b"", b"0", b"7", b"e", b'"', b"}", b"\0", b"\xff"]))
    harmed = content[:at] + other + content[at + 1 :] if other else content[:at]
    path.write_bytes(harmed)
    try:
        if harmed == content or same(harmed, content):
            assert holes(metrics) == [None, None]
            return
        with pytest.raises(UserError, match=rf"^metrics/{stage}/mrpc-bert-tiny-0.3.json: ") as error:
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
        (lambda text: text[:-20], "cut short or altered since it was made, so that it is no JSON"),
        (lambda text: "", "cut short or altered since it was made, so that it is no JSON"),
        (lambda text: "[" * 100_000, "cut short or altered since it was made, so that it is no JSON"),
        (lambda text: "[1]", "altered since it was made, so that it is no record"),
        (lambda text: "{}", "schema: got None, but this version reads 2"),
        (
            lambda text: text.replace('"seed": 1', '"seed": 7', 1),
            "altered since it was made, for its sha256 is that of other numbers",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_told_in_a_line(metrics: Path, harm: Callable[[str], str], message: str) -> None:
    path = metrics / "evaluate" / "small.json"
    path.write_text(harm(path.read_text()))
    with pytest.raises(UserError) as error:
        records.opened(path)
    assert str(error.value) == f"metrics/evaluate/small.json: {message}; remove it, then run `dvc repro`"


@pytest.mark.parametrize("value", [None, "absent"])
def test_a_result_without_a_score_is_a_line(metrics: Path, value: str | None) -> None:
    path = metrics / "evaluate" / "small.json"
    content = json.loads(path.read_text())
    content["trials"][1]["score"] = value
    if value:
        del content["trials"][1]["score"]
    path.write_text(json.dumps(records.sealed(content)))
    with pytest.raises(UserError) as error:
        table.read([SMALL], metrics / "evaluate")
    assert str(error.value) == (
        "metrics/evaluate/small.json: seed 1: no score, without which there is nothing to compare; remove it, then run "
        "`dvc repro`"
    )
