"""A source's rows become three files: complete, apart from each other, and the same bytes every time."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.data import dataset_sources, split_files
from pipeline.tasks import prepare_task, task_config
from pipeline.tasks.task_config import Task

ROOT = Path(__file__).resolve().parents[2]
FILES = ("train.parquet", "selection.parquet", "report.parquet", "summary.json")


def source() -> dict[str, pa.Table]:
    """60 rows of train, a third of them of class no, and 9 to report."""
    return {"train": table("train", 60), "validation": table("validation", 9), "test": table("test", 1)}


def table(name: str, rows: int) -> pa.Table:
    return pa.table({
        "one": [f"{name} {row} first" for row in range(rows)],
        "two": [f"{name} {row} second" for row in range(rows)],
        "same": [int(row % 3 > 0) for row in range(rows)],
    })  # fmt: skip


def prepared(task: Task, splits: dict[str, pa.Table], out: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    out.mkdir(exist_ok=True)
    content = prepare_task.prepare(task, splits, {"kind": "test"}, out)
    return content, {name: pq.read_table(out / f"{name}.parquet").to_pylist() for name in prepare_task.SPLITS}


def test_selection_and_train_share_out_the_rows_of_train(task: Task, tmp_path: Path) -> None:
    _, rows = prepared(task, source(), tmp_path)
    assert sorted(row["idx"] for row in rows["train"] + rows["selection"]) == list(range(60))
    assert len(rows["selection"]) == 6
    assert sum(row["label"] for row in rows["selection"]) == 4
    assert [row["idx"] for row in rows["report"]] == list(range(9))


def test_every_prefix_of_train_is_balanced_as_train_is(task: Task, tmp_path: Path) -> None:
    _, rows = prepared(task, source(), tmp_path)
    labels = [row["label"] for row in rows["train"]]
    assert all(abs(sum(labels[:size]) - size * 2 / 3) < 1 for size in range(1, 55))


def test_each_row_keeps_its_texts_and_its_label(task: Task, tmp_path: Path) -> None:
    _, rows = prepared(task, source(), tmp_path)
    for row in rows["train"]:
        place = row["idx"]
        assert row == {
            "text_a": f"train {place} first",
            "text_b": f"train {place} second",
            "label": int(place % 3 > 0),
            "idx": place,
        }


def test_the_same_rows_give_the_same_bytes(task: Task, tmp_path: Path) -> None:
    chunked = {name: pa.concat_tables([split.slice(0, 5), split.slice(5)]) for name, split in source().items()}
    for name, splits in (("one", source()), ("two", source()), ("chunked", chunked)):
        prepared(task, splits, tmp_path / name)
    for file in FILES:
        assert len({(tmp_path / name / file).read_bytes() for name in ("one", "two", "chunked")}) == 1


def test_the_seeds_of_selection_and_subsets_are_apart(task: Task, tmp_path: Path) -> None:
    _, rows = prepared(task, source(), tmp_path / "one")
    _, otherwise = prepared(task.model_copy(update={"subset_seed": 1}), source(), tmp_path / "two")
    assert rows["selection"] == otherwise["selection"]
    assert rows["train"] != otherwise["train"]
    assert sorted(row["idx"] for row in rows["train"]) == sorted(row["idx"] for row in otherwise["train"])


def test_the_summary_counts_what_was_written(task: Task, tmp_path: Path) -> None:
    content, rows = prepared(task, source(), tmp_path)
    assert content == json.loads((tmp_path / "summary.json").read_text())
    for name in prepare_task.SPLITS:
        assert content["splits"][name]["rows"] == len(rows[name])
        assert (
            content["splits"][name]["sha256"] == hashlib.sha256((tmp_path / f"{name}.parquet").read_bytes()).hexdigest()
        )
    assert content["majority_class"] == "yes"
    assert content["majority"] == {"accuracy": 6 / 9, "f1": pytest.approx(0.8), "matthews_correlation": 0.0}
    assert content["warnings"] == []
    assert prepare_task.format_reading(content) == [
        "labels: a value is a class name; a whole number that is no class name is an index: 0 = no, 1 = yes"
    ]


@pytest.mark.parametrize(
    "asked", [{"max_length": 17}, {"score": "accuracy"}, {"metrics": ("accuracy",)}, {"labels": ("never", "always")}]
)
def test_what_is_asked_of_the_rows_later_shows_in_the_summary(
    task: Task, tmp_path: Path, asked: dict[str, Any]
) -> None:
    before, _ = prepared(task, source(), tmp_path / "one")
    after, _ = prepared(task.model_copy(update=asked), source(), tmp_path / "two")
    assert {name: after[name] for name in asked} == {
        name: list(v) if isinstance(v, tuple) else v for name, v in asked.items()
    }
    assert all(before[name] != after[name] for name in asked)


def test_what_is_odd_is_remarked_and_counted(task: Task, tmp_path: Path) -> None:
    splits = source()
    odd = pa.table({
        "one": ["", "train 0 second", "a\x00b", None], "two": ["x", "train 0 first", "y", "z"], "same": [1, 1, 1, 1],
    })  # fmt: skip
    splits["train"] = pa.concat_tables([splits["train"], odd])
    splits["validation"] = pa.concat_tables([splits["validation"], source()["train"].slice(3, 1)])
    content, rows = prepared(task.model_copy(update={"train_counts": (20, 43)}), splits, tmp_path)
    leak = "selection" if 3 in [row["idx"] for row in rows["selection"]] else "train"
    assert content["warnings"] == [
        "train has 1 row without all fields of the header, or with more (left out); the first is row 63",
        "train has 1 row with an empty text (kept); the first is row 60",
        "train has 1 row with characters of a broken encoding (kept); the first is row 62",
        "train has 1 row with the texts of an earlier row (kept); the first is row 61",
        "train has 1 row with the texts of an earlier row and another label (kept); the first is row 61",
        f"leak: 1 of 10 rows of report (10.0%) also in {leak} (kept); the first is row 9",
    ]
    assert prepare_task.format_reading(content)[1:] == [f"warning: {warning}" for warning in content["warnings"]]
    assert prepare_task.result(content) == {
        "train_rows": 57, "selection_rows": 6, "report_rows": 10,
        "words_mean": content["splits"]["train"]["words"]["mean"],
        "incomplete_rows": 1, "empty_text_rows": 1, "broken_encoding_rows": 1, "duplicate_rows": 1,
        "contradicting_duplicate_rows": 1, "leaked_rows": 1,
        "majority_accuracy": 0.6, "majority_f1": pytest.approx(0.75), "majority_matthews_correlation": 0.0,
    }  # fmt: skip


def test_a_split_that_the_source_has_not_got_is_told_with_those_it_has(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        prepared(task.model_copy(update={"report": "validation_matched"}), source(), tmp_path)
    assert str(error.value) == (
        "task made-up: no split 'validation_matched' in the source; "
        "did you mean 'validation'? (allowed: test, train, validation)"
    )


def test_train_counts_that_the_data_do_not_have_are_refused_before_anything_is_written(
    task: Task, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        prepared(task.model_copy(update={"train_counts": (4000, 4000)}), source(), tmp_path)
    assert str(error.value) == (
        "conf/task/made-up.yaml: train_counts: got [4000, 4000]; the data have [20, 40]; write that"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_count_of_a_regression_is_that_of_its_rows(task: Task, tmp_path: Path) -> None:
    degrees = task.model_copy(
        update={
            "labels": None,
            "range": (0.0, 5.0),
            "metrics": ("pearson",),
            "score": "pearson",
            "train_counts": (61,),
        }
    )
    with pytest.raises(UserError) as error:
        prepared(degrees, source(), tmp_path)
    assert str(error.value) == "conf/task/made-up.yaml: train_counts: got [61]; the data have [60]; write that"


def test_how_files_were_read_is_in_the_summary_and_what_is_doubtful_is_a_warning(task: Task, tmp_path: Path) -> None:
    folder, out = tmp_path / "source", tmp_path / "out"
    folder.mkdir()
    for name, split in source().items():
        (folder / f"{name}.tsv").write_text(
            "one\ttwo\tsame\n" + "".join(f"{row['one']}\t{row['two']}\t{row['same']}\n" for row in split.to_pylist())
        )
    with (folder / "train.tsv").open("a") as file:
        file.write('"odd\tx\t1\n')
    (folder / "notes.txt").write_text("mine")
    content, _ = prepared(
        task.model_copy(update={"train_counts": (20, 41), "report": "dev"}), split_files.read(folder), out
    )
    assert content["reading"] == ["not read: notes.txt (not a format that is read)"]
    assert content["warnings"] == [
        "train.tsv: quotation marks are read as letters, because a quotation mark that opens a field is never closed "
        "(the row at line 62)"
    ]
    with pytest.raises(UserError) as error:
        prepared(task.model_copy(update={"report": "holdout"}), split_files.read(folder), out)
    assert str(error.value).startswith("conf/task/made-up.yaml: train_counts")
    with pytest.raises(UserError) as error:
        prepared(task.model_copy(update={"train_counts": (20, 41), "report": "holdout"}), split_files.read(folder), out)
    assert str(error.value) == (
        "task made-up: no split 'holdout' in the source; allowed: test, train, validation; not read: notes.txt (not a "
        "format that is read)"
    )


def test_numerals_among_words_are_warned_about_where_they_are_indexes_of_other_classes(
    task: Task, tmp_path: Path
) -> None:
    three = {"labels": ("1", "0", "x"), "metrics": ("accuracy",), "score": "accuracy", "train_counts": (40, 20, 1)}
    content, _ = prepared(task.model_copy(update=three), with_a_third_class(), tmp_path)
    assert content["warnings"] == ["labels: 1 is read as the class '1', not as the index of '0'"]


def with_a_third_class() -> dict[str, pa.Table]:
    extra = pa.table({"one": ["third"], "two": ["class"], "same": [2]})
    return source() | {"train": pa.concat_tables([source()["train"], extra])}


def test_a_split_without_rows_is_told(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        prepared(task, source() | {"validation": table("validation", 0)}, tmp_path)
    assert str(error.value) == "task made-up: validation: no rows; every split that is used needs some"


def test_a_train_split_too_small_to_carve_is_told(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        prepared(task.model_copy(update={"train_counts": (2, 2)}), source() | {"train": table("train", 4)}, tmp_path)
    assert str(error.value) == ("task made-up: train: 4 rows, too few for selection.fraction 0.1; both parts need some")


def real(shared: Path, name: str, out: Path) -> dict[str, Any]:
    task = task_config.load_task(yaml.safe_load((ROOT / "conf" / "task" / f"{name}.yaml").read_text()))
    content, _ = prepared(task, dataset_sources.find(name, str(shared), dict).splits, out)
    return content


@pytest.mark.shared
def test_mrpc_has_the_published_rows_and_majority(shared: Path, tmp_path: Path) -> None:
    content = real(shared, "mrpc", tmp_path)
    assert content["source_train"]["rows"] == 3668
    assert content["splits"]["train"]["rows"] + content["splits"]["selection"]["rows"] == 3668
    assert content["splits"]["report"]["rows"] == 408
    assert round(100 * content["majority"]["accuracy"], 1) == 68.4
    assert round(100 * content["majority"]["f1"], 1) == 81.2


@pytest.mark.shared
def test_the_test_split_of_mrpc_has_the_published_rows_and_majority(shared: Path, tmp_path: Path) -> None:
    task = task_config.load_task(yaml.safe_load((ROOT / "conf" / "task" / "mrpc.yaml").read_text()))
    content, _ = prepared(
        task.model_copy(update={"report": "test"}), dataset_sources.find("mrpc", str(shared), dict).splits, tmp_path
    )
    assert content["splits"]["report"]["rows"] == 1725
    assert round(100 * content["majority"]["accuracy"], 1) == 66.5
    assert round(100 * content["majority"]["f1"], 1) == 79.9


@pytest.mark.shared
def test_cola_has_the_published_rows_and_its_known_blemishes(shared: Path, tmp_path: Path) -> None:
    content = real(shared, "cola", tmp_path)
    assert content["source_train"]["classes"] == {"unacceptable": 2528, "acceptable": 6023}
    assert content["splits"]["report"]["rows"] == 1043
    assert content["findings"]["train"]["duplicate"]["rows"] == 19
    assert content["leaks"]["train-report"]["rows"] + content["leaks"]["selection-report"]["rows"] == 16


def test_a_leak_is_counted_with_the_rows_that_have_another_label(task: Task, tmp_path: Path) -> None:
    splits = source()
    relabelled = splits["train"].slice(0, 3).set_column(2, "same", pa.array([1, 1, 1]))
    splits["validation"] = pa.concat_tables([splits["validation"], relabelled])
    content, rows = prepared(task, splits, tmp_path)
    chosen = {row["idx"] for row in rows["selection"]}
    expected = [
        f"leak: {len(leaked)} of 12 rows of report ({len(leaked) / 12:.1%}) also in {name}"
        f"{', 1 of them with another label' if 0 in leaked else ''} (kept); the first is row {9 + min(leaked)}"
        for name, leaked in (("train", {0, 1, 2} - chosen), ("selection", {0, 1, 2} & chosen))
        if leaked
    ]
    assert content["warnings"] == expected
