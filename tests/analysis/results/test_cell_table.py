import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.analysis.report.tables import csv_files, score_tables
from pipeline.analysis.results import cell_table, trial_table
from pipeline.analysis.results.cell_table import CellCoordinates, CellRow
from pipeline.analysis.statistics import task_scores
from pipeline.core import records as kept
from pipeline.core.errors import UserError
from tests import fakes

ROW = CellRow("c", "mrpc", "bert-tiny", 1.0, "standard", "evaluate@c", score=0.8, score_name="f1", majority_score=0.75)


@pytest.fixture
def evaluate(tmp_path: Path) -> Path:
    """Return an empty folder for records of evaluations."""
    folder = tmp_path / "metrics" / "evaluate"
    folder.mkdir(parents=True)
    return folder


def test_rows_are_exactly_the_plans_cells_in_its_order(points: list[CellCoordinates], records: Path) -> None:
    chosen = [points[4], points[0]]
    assert [row.cell for row in cell_table.read_rows(chosen, records, fakes.planned(chosen))] == [
        "mrpc-bert-mini-0.3-standard",
        "mrpc-bert-tiny-0.1-standard",
    ]


def test_a_row_holds_what_its_record_says(rows: list[CellRow]) -> None:
    record = fakes.evaluation("mrpc", "bert-mini", 0.3)
    scores = [trial["score"] for trial in record["trials"]]
    row = rows[4]
    assert row.score == pytest.approx(statistics.mean(scores))
    assert row.score - 0.05 < row.low < row.score < row.high < row.score + 0.05
    assert (row.seeds, row.score_name, row.train_examples) == (3, "f1", 991)
    assert row.majority_score == pytest.approx(0.812)
    assert (row.parameters, row.parameters_non_embedding, row.storage_bytes) == (11_200_000, 3_200_000, 44_800_000)


def test_a_cell_that_has_not_run_is_shown_as_a_hole(rows: list[CellRow]) -> None:
    assert rows[-1].score is None
    (table,) = score_tables.create_tables(rows[-1:])
    assert table.format_rows()[0][:5] == ["bert-mini-fresh", "", "1", "", "not run"]
    assert score_tables.format_overview(rows).startswith("29 of 30 cells have results; ")
    assert score_tables.format_title(rows[-1:]) == "starter-swap: no results yet"


def test_a_full_ratio_written_as_a_whole_number_is_of_the_grid(evaluate: Path) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 1)
    (evaluate / "mrpc-bert-tiny-1.json").write_text(json.dumps(kept.sign(record)))
    point = CellCoordinates("mrpc-bert-tiny-1", "mrpc", "bert-tiny", 1, "standard", "evaluate@mrpc-bert-tiny-1")
    (row,) = cell_table.read_rows([point], evaluate, fakes.planned([point]))
    assert score_tables.format_model(row) == "bert-tiny"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.76, 0.84, "yes"), (0.74, 0.86, "unclear"), (0.60, 0.70, "no"), (None, None, "")],
)
def test_nothing_is_above_the_baseline_inside_its_interval(low: float | None, high: float | None, verdict: str) -> None:
    assert replace(ROW, low=low, high=high).above_majority == verdict


def test_a_row_has_no_interval_where_no_cell_repeats_a_seed(evaluate: Path, points: list[CellCoordinates]) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.1, seeds=[0])
    (evaluate / "mrpc-bert-tiny-0.1-standard.json").write_text(json.dumps(kept.sign(record)))
    planned = fakes.planned(points[:1], seeds=[0])
    scores = task_scores.estimate_by_task(trial_table.read_trials(points[:1], evaluate, planned))
    (row,) = cell_table.read_rows(points[:1], evaluate, planned, task_scores.collect_intervals(scores))
    assert (row.seeds, row.low, row.high, row.above_majority) == (1, None, None, "")
    (table,) = score_tables.create_tables([row])
    assert table.format_rows()[0][4:7] == [f"{100 * row.score:.1f}", "", ""]
    assert score_tables.format_overview([row]) == (
        "1 of 1 cells have results; 1 cell has no interval, since no cell of the task has two seeds that learned."
    )


def test_what_a_training_took_is_read_and_a_seed_that_never_came_there_leaves_a_hole(
    evaluate: Path, points: list[CellCoordinates]
) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.1)
    for number, trial in enumerate(record["trials"]):
        trial |= {
            "train_flops": 1e12 * (1 + number), "train_seconds": 10.0 + number, "flops_to_95pct": 4e11,
            "seconds_to_95pct": None if number else 4.0, "examples_to_95pct": 300, "latency_p99_ms": 9.0,
            "inference_memory_added_mib": 40.0 + number,
        }  # fmt: skip
    record["summary"] = kept.compute_summary(record["trials"])
    (evaluate / "mrpc-bert-tiny-0.1-standard.json").write_text(json.dumps(kept.sign(record)))
    (row,) = cell_table.read_rows(points[:1], evaluate, fakes.planned(points[:1]))
    assert (row.train_flops, row.train_seconds, row.flops_to_95pct) == (2e12, 11.0, 4e11)
    assert (row.seconds_to_95pct, row.examples_to_95pct) == (None, 300)
    assert (row.latency_p99_ms, row.inference_memory_added_mib) == (9.0, 41.0)
    (line,) = csv.DictReader(io.StringIO(csv_files.render_cells([row])))
    assert (line["train_flops"], line["seconds_to_95pct"]) == ("2000000000000.0", "")


def test_a_record_of_before_a_training_was_counted_has_holes_there(rows: list[CellRow]) -> None:
    assert (rows[0].flops_to_95pct, rows[0].latency_p99_ms) == (None, None)
    assert rows[0].latency_p95_ms == pytest.approx(1.2 * rows[0].latency_p50_ms)


def test_a_family_that_has_no_marker_is_refused(evaluate: Path, points: list[CellCoordinates]) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.1)
    for trial in record["trials"]:
        trial["family"] = "frsh"
    (evaluate / "mrpc-bert-tiny-0.1-standard.json").write_text(json.dumps(kept.sign(record)))
    with pytest.raises(UserError) as caught:
        cell_table.read_rows(points[:1], evaluate, fakes.planned(points[:1]))
    assert str(caught.value) == (
        "conf/model/bert-tiny.yaml: family: got 'frsh'; "
        "did you mean 'fresh'? (allowed: fresh, pretrained, random); then `dvc repro`"
    )


def test_a_record_that_lacks_a_key_is_told_from_a_hole(tmp_path: Path, points: list[CellCoordinates]) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.1)
    for trial in record["trials"]:
        del trial["family"], trial["score_name"]
    folder = tmp_path / "metrics" / "evaluate"
    folder.mkdir(parents=True)
    (folder / "mrpc-bert-tiny-0.1-standard.json").write_text(json.dumps(kept.sign(record)))
    with pytest.raises(UserError) as caught:
        cell_table.read_rows(points[:1], folder, fakes.planned(points[:1]))
    assert str(caught.value) == (
        "metrics/evaluate/mrpc-bert-tiny-0.1-standard.json: seed 0: no score_name, family, which the "
        "comparison needs; remove it, then run `dvc repro`"
    )


def test_a_record_of_another_layout_is_refused(tmp_path: Path) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.1) | {"schema": 0}
    folder = tmp_path / "metrics" / "evaluate"
    folder.mkdir(parents=True)
    (folder / "long.json").write_text(json.dumps(kept.sign(record)))
    with pytest.raises(UserError) as caught:
        cell_table.read_rows(
            [CellCoordinates("long", "mrpc", "bert-tiny", 0.1, "patient", "evaluate-variants@long")], folder, {}
        )
    assert str(caught.value) == (
        "metrics/evaluate/long.json: schema: got 0, but this version reads 3; remove it, then run `dvc repro`"
    )
