"""Every trial with its numbers and its answers, as it stands in the records."""

import json
from pathlib import Path

import pytest

from pipeline.analysis.results import trial_table
from pipeline.analysis.results.cell_table import CellCoordinates
from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.metrics import registry
from tests import fakes

POINTS = [
    CellCoordinates(
        f"{task}-bert-tiny-0.3-standard", task, "bert-tiny", 0.3, "standard", f"evaluate@{task}-bert-tiny-0.3-standard"
    )
    for task in fakes.TASKS
]
PLANNED = fakes.planned(POINTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fakes.write(tmp_path, [fakes.evaluation(point.task, point.model, point.ratio) for point in POINTS])
    return tmp_path / "metrics" / "evaluate"


def test_a_trial_holds_its_answers_and_its_numbers(folder: Path) -> None:
    found = trial_table.read_trials(POINTS, folder, PLANNED)
    assert [(trial.point, trial.seed) for trial in found] == [(point, seed) for point in POINTS for seed in (0, 1, 2)]
    for trial in found:
        score = registry.SCORES[trial.numbers["score_name"]]
        assert trial.numbers["score"] == score(trial.predictions, trial.references)


def test_the_frame_has_a_row_for_each_trial_and_no_answers(folder: Path) -> None:
    frame = trial_table.build_frame(trial_table.read_trials(POINTS, folder, PLANNED))
    assert len(frame) == 6
    assert list(frame.columns[:9]) == [*trial_table.COORDINATES, "seed"]
    assert not {"predictions", "references"} & set(frame.columns)
    assert frame["parameters"].tolist() == [4_400_000] * 6


def test_a_cell_that_has_not_run_has_no_trials(folder: Path) -> None:
    (folder / f"{POINTS[0].cell}.json").unlink()
    assert {trial.point for trial in trial_table.read_trials(POINTS, folder, PLANNED)} == {POINTS[1]}
    assert trial_table.build_frame([]).empty


def test_cells_that_were_judged_on_other_examples_are_not_compared(folder: Path) -> None:
    other = CellCoordinates("other", "mrpc", "bert-mini", 0.3, "standard", "evaluate@other")
    record = json.loads((folder / f"{POINTS[0].cell}.json").read_text())
    record |= {"cell": "other", "model": "bert-mini"}
    record["trials"][0]["references"] = "0" * fakes.EXAMPLES
    (folder / "other.json").write_text(json.dumps(records.sign(record)))
    with pytest.raises(UserError) as caught:
        trial_table.read_trials([*POINTS, other], folder, fakes.planned([*POINTS, other]))
    assert str(caught.value) == (
        "metrics/evaluate/other.json: judged on other examples than metrics/evaluate/mrpc-bert-tiny-0.3-standard.json, "
        "so the two cannot be compared; run `dvc repro`"
    )


def test_a_record_that_lacks_a_key_is_refused(folder: Path) -> None:
    path = folder / f"{POINTS[0].cell}.json"
    record = json.loads(path.read_text())
    for trial in record["trials"]:
        del trial["predictions"], trial["loss"]
    path.write_text(json.dumps(records.sign(record)))
    with pytest.raises(UserError) as caught:
        trial_table.read_trials(POINTS, folder, PLANNED)
    assert str(caught.value) == (
        "metrics/evaluate/mrpc-bert-tiny-0.3-standard.json: seed 0: no loss, predictions, which the "
        "comparison needs; remove it, then run `dvc repro`"
    )
