import json
from pathlib import Path

from mlflow.tracking import MlflowClient

from pipeline.tracking import Identity
from pipeline.tracking.base import SyncCounts
from pipeline.tracking.mlflow import runs
from pipeline.tracking.mlflow.sync import sync
from tests import fakes
from tests.tracking.mlflow.sweeps import close_cell, log_metrics, open_cell, open_run, open_trial

POINTS = [("mrpc", "bert-tiny", 0.3), ("mrpc", "bert-mini", 1.0)]
RECORDS = [make(*point, seeds=(0, 1)) for point in POINTS for make in (fakes.finetuning, fakes.evaluation)]
CELLS = [(record["stage"], record["cell"]) for record in RECORDS]


def test_syncing_twice_makes_no_second_copy(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    assert sync(CELLS) == SyncCounts(created=4)
    before = {run.info.run_id for run in runs.find_runs(client, "")}
    assert sync(CELLS) == SyncCounts(present=4)
    assert {run.info.run_id for run in runs.find_runs(client, "")} == before
    assert len(before) == 4 * 3


def test_sync_logs_the_same_as_live_tracking(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    for record in RECORDS:
        _log_live(tmp_path, record)
    live = _contents(client)
    for run in runs.find_cell_runs(client):
        runs.retire_run(client, run, "to start from nothing")
    assert sync(CELLS) == SyncCounts(created=4)
    assert _contents(client) == live


def test_cells_that_were_logged_live_are_not_copied(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    for record in RECORDS:
        _log_live(tmp_path, record)
    assert sync(CELLS) == SyncCounts(present=4)


def test_a_cell_with_a_changed_record_replaces_its_run(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    sync(CELLS)
    path = tmp_path / "metrics" / "evaluate" / "mrpc-bert-tiny-0.3-standard.json"
    path.write_text(json.dumps(RECORDS[1] | {"machine": {"processor": "another"}}))
    assert sync(CELLS) == SyncCounts(created=1, present=3, retired=1)
    assert len(runs.find_cell_runs(client)) == 4


def test_a_cell_that_left_the_plan_is_retired_and_one_without_a_record_is_counted(
    client: MlflowClient, tmp_path: Path
) -> None:
    fakes.write(tmp_path, RECORDS)
    sync(CELLS)
    gone = runs.find_cell_runs(client, *CELLS[-1])[0].info.run_id
    counts = sync([*CELLS[:-1], ("evaluate", "mrpc-bert-large-1.0-standard")])
    assert counts == SyncCounts(present=3, waiting=1, retired=1)
    assert str(counts) == "0 cells created, 3 already there, 1 not run yet, 1 older runs marked superseded"
    assert client.get_run(gone).data.tags["superseded"] == "left the plan"


def test_an_active_run_is_left_alone_and_a_partial_copy_is_replaced(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    identity = Identity.from_record(RECORDS[0])
    active = open_run(identity)
    partial = runs.create_run(client, identity, tmp_path / "gone", name=identity.cell, origin="files")
    assert sync(CELLS) == SyncCounts(created=4, retired=1)
    assert client.get_run(active).info.lifecycle_stage == "active"
    assert (client.get_run(partial).info.lifecycle_stage, client.get_run(partial).info.status) == (
        "deleted",
        "KILLED",
    )


def test_the_run_of_a_trial_has_its_duration(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    sync(CELLS)
    parent = runs.find_cell_runs(client, *CELLS[0])[0].info
    children = runs.find_runs(client, f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert [round((child.info.end_time - child.info.start_time) / 1000, 1) for child in children] == [4.0, 4.0]
    assert round((parent.end_time - parent.start_time) / 1000, 1) == 8.0


def test_sync_logs_resource_samples(client: MlflowClient, tmp_path: Path) -> None:
    fakes.write(tmp_path, RECORDS)
    stage, cell = CELLS[0]
    rows = [
        {"step": step, "time": when, "system/cpu_utilization_percentage": 40.0 + step, "system/disk_free": 7.5}
        for step, when in enumerate([1750000000.001, 1750000001.002, 1750000002.5])
    ]
    file = tmp_path / "runs" / stage / cell / "seed-1/resources.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sync(CELLS)
    run = runs.find_runs(client, f"tags.stage = '{stage}' and tags.cell = '{cell}' and tags.seed = '1'")[0]
    points = {
        name: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name.startswith("system/")
    }
    times = [1750000000001, 1750000001002, 1750000002500]
    assert points == {
        "system/cpu_utilization_percentage": [(step, times[step], 40.0 + step) for step in range(3)],
        "system/disk_free": [(step, times[step], 7.5) for step in range(3)],
    }


def _log_live(root: Path, record: dict[str, object]) -> None:
    identity = Identity.from_record(record)
    parent = open_cell(identity)
    for trial in record["trials"]:
        live = open_trial(identity, trial["seed"], parent)
        for row in fakes.curve(record, trial):
            log_metrics(live, row["step"], {name: value for name, value in row.items() if name != "step"})
        folder = root / "runs" / record["stage"] / record["cell"] / f"seed-{trial['seed']}"
        shown = [folder / "predictions.parquet"] if record["stage"] == "evaluate" else []
        live.finish(trial, [*shown, folder / "config.yaml", folder / "trial.json"])
    close_cell(parent, record, [root / "metrics" / record["stage"] / f"{record['cell']}.json"])


def _contents(client: MlflowClient) -> dict[str, object]:
    """Return the content of the active runs, by names that do not depend on ids and times."""
    contents = {}
    for run in runs.find_runs(client, ""):
        names = [name for name in run.data.metrics if not name.startswith("system/")]
        curves = {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in names
        }
        tags = {
            key: value
            for key, value in run.data.tags.items()
            if key not in ("mlflow.parentRunId", "origin", "worked_on")
        }
        inputs = sorted((item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs)
        artifacts = sorted(item.path for item in client.list_artifacts(run.info.run_id))
        contents[f"{tags['stage']} {run.info.run_name}"] = (curves, run.data.params, tags, inputs, artifacts)
    return contents
