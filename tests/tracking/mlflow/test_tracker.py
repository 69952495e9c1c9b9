import json
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from mlflow.store.tracking.dbmodels.models import SqlDataset
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.orm import Session

from pipeline.tracking import Identity, Input, get_tracker
from pipeline.tracking.mlflow import resource_sampler, runs, store
from tests import fakes
from tests.tracking.mlflow.sweeps import (
    close_cell,
    fail_cell,
    get_run_id,
    get_trial_run_id,
    log_metrics,
    open_cell,
    open_trial,
)

RECORD = fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
IDENTITY = Identity.from_record(RECORD)


def log(record: dict[str, object] = RECORD, *, exploration: bool = False) -> str:
    """Log a cell as the stages do and return the id of its run."""
    identity = Identity.from_record({**record, "exploration": exploration})
    parent = open_cell(identity)
    for trial in record["trials"]:
        live = open_trial(identity, trial["seed"], parent)
        live.finish(trial)
    run = get_run_id(parent)
    close_cell(parent, {**record, "exploration": exploration})
    return run


def test_a_cell_is_a_run_with_a_child_for_each_seed(client: MlflowClient) -> None:
    parent = client.get_run(log())
    children = runs.find_runs(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert parent.info.run_name == "mrpc-bert-tiny-0.3-standard"
    assert parent.info.status == "FINISHED"
    coordinates = {"task": "mrpc", "model": "bert-tiny", "ratio": "0.3", "recipe": "standard"}
    assert parent.data.params == {**coordinates, "source": "finetune/mrpc-bert-tiny-0.3-standard"}
    assert sorted(child.data.params["seed"] for child in children) == ["0", "1"]
    assert {child.info.status for child in children} == {"FINISHED"}


def test_actions_wait_for_a_flush_or_for_the_end_of_their_batch(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, start = open_cell(IDENTITY), time.time()
    live = open_trial(IDENTITY, 0, parent)
    assert live.run is not None
    time.sleep(0.3)
    assert not live.run.done()
    store.get_store().flush()
    assert live.run.done()
    started = [client.get_run(run).info.start_time / 1000 for run in (get_run_id(parent), get_trial_run_id(live))]
    assert started == pytest.approx([start, start], abs=0.2)  # not when the store received them
    monkeypatch.setattr(store, "BATCH_SECONDS", 0.1)
    other = open_trial(IDENTITY, 1, parent)
    assert other.run is not None
    assert other.run.result(timeout=30)
    for each in (live, other):
        each.fail("the test is over")


def test_the_parent_run_has_mean_and_deviation(client: MlflowClient) -> None:
    metrics = client.get_run(log()).data.metrics
    spread = RECORD["summary"]["score"]
    assert metrics["score"] == pytest.approx(spread["mean"], rel=1e-5)
    assert metrics["score_std"] == pytest.approx(spread["std"], rel=1e-5)
    assert metrics["parameters"] == 4_400_000
    assert "parameters_std" not in metrics  # a constant has no deviation
    assert not [name for name in metrics if "ci95" in name]  # only the comparison computes intervals


def test_the_parent_run_has_the_texts_that_all_seeds_share(client: MlflowClient) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
    record["trials"][1]["precision"] = "bf16"
    tags = client.get_run(log(record)).data.tags
    assert (tags["family"], tags["score_name"], tags["made_by"]) == ("pretrained", "f1", "finetune")
    assert not {"precision", "predictions", "references"} & tags.keys()


def test_warnings_are_a_tag_with_a_line_each_and_no_metric(client: MlflowClient) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
    for trial, warnings in zip(record["trials"], (["one", "two"], ["one", "two"]), strict=True):
        trial["warnings"] = warnings
    parent = client.get_run(log(record))
    children = runs.find_runs(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.data.tags["warnings"] for run in [parent, *children]} == {"one\ntwo"}
    assert not any("warnings" in run.data.metrics for run in [parent, *children])


def test_a_trial_without_warnings_has_no_such_tag(client: MlflowClient) -> None:
    record = fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
    record["trials"][0]["warnings"], record["trials"][1]["warnings"] = [], ["one"]
    assert "warnings" not in client.get_run(log(record)).data.tags


def test_tags_and_inputs_name_the_sources_of_a_cell(client: MlflowClient) -> None:
    run = client.get_run(log())
    assert run.data.tags["stage"] == "evaluate"
    assert run.data.tags["cell"] == "mrpc-bert-tiny-0.3-standard"
    assert run.data.tags["git_commit"] == run.data.tags["mlflow.source.git.commit"] == RECORD["tags"]["git_commit"]
    assert run.data.tags["data_sha256"] == RECORD["inputs"]["data"]
    assert run.data.tags["inputs_sha256"] == RECORD["tags"]["inputs_sha256"]
    inputs = {item.dataset.name: (item.dataset.digest, item.dataset.source) for item in run.inputs.dataset_inputs}
    assert inputs["mrpc"] == (RECORD["inputs"]["data"][:8], '{"uri": "data/mrpc"}')
    assert inputs["bert-tiny"] == (RECORD["inputs"]["model"][:8], '{"uri": "models/bert-tiny"}')


def test_running_a_cell_again_leaves_one_active_run_of_it(client: MlflowClient) -> None:
    first, other, second = log(), log(fakes.evaluation("mrpc", "bert-mini", 0.3)), log()
    assert {run.info.run_id for run in runs.find_cell_runs(client)} == {other, second}
    assert client.get_run(first).data.tags["superseded"] == f"by {second}"
    assert client.get_run(first).info.lifecycle_stage == "deleted"
    children = runs.find_runs(client, "tags.level = 'trial' and tags.cell = 'mrpc-bert-tiny-0.3-standard'")
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {second}


def test_two_runs_with_the_same_record_do_not_retire_each_other(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(runs, "replace_earlier_runs", lambda *_: None)
        both = [log(), log()]
    seen_by_both = runs.find_cell_runs(client)
    monkeypatch.setattr(
        runs, "find_cell_runs", lambda *_: seen_by_both
    )  # each looks before the other has retired anything
    monkeypatch.setattr(runs, "retire_run", lambda _, run, why: retired.append((run.info.run_id, why)))
    retired: list[tuple[str, str]] = []
    for run in both:
        runs.replace_earlier_runs(client, run, RECORD, Path())
    assert retired == [(both[0], f"by {both[1]}")] * 2


def test_a_failed_run_leaves_the_earlier_one_in_place(client: MlflowClient) -> None:
    first, parent = log(), open_cell(IDENTITY)
    second = get_run_id(parent)
    open_trial(IDENTITY, 0, parent).fail("ValueError: cannot open postgresql://me:secret@host/db")
    fail_cell(parent)
    child = runs.find_runs(client, f"tags.`mlflow.parentRunId` = '{second}'")[0]
    assert client.get_run(first).info.lifecycle_stage == "active"
    assert client.get_run(second).info.status == child.info.status == "FAILED"
    assert child.data.tags["failure"] == "ValueError: cannot open postgresql://***@host/db"


def test_explorations_have_their_own_experiment_and_replace_nothing(client: MlflowClient) -> None:
    planned, first, second = log(), log(exploration=True), log(exploration=True)
    explored = client.search_runs([store.get_experiment_id(client, exploration=True)], "tags.level = 'cell'")
    assert {run.info.run_id for run in explored} == {first, second}
    assert {run.data.tags["exploration"] for run in explored} == {"true"}
    assert client.get_run(planned).data.tags["exploration"] == "false"
    assert [run.info.run_id for run in runs.find_cell_runs(client)] == [planned]


def test_curves_and_final_numbers_arrive_at_their_steps(client: MlflowClient) -> None:
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    for step in (10, 20):
        log_metrics(trial, step, {"loss": 1 / step})
    trial.finish({"seed": 0, "loss": 0.04, "f1": 0.9, "collapsed": False, "nothing": None, "precision": "bf16",
                  "predictions": "01" * 10_000, "references": "10" * 10_000})  # fmt: skip
    loss = [(point.step, point.value) for point in client.get_metric_history(get_trial_run_id(trial), "loss")]
    assert loss == [(10, 0.1), (20, 0.05), (20, 0.04)]
    assert [(point.step, point.value) for point in client.get_metric_history(get_trial_run_id(trial), "f1")] == [
        (0, 0.9)
    ]
    data = client.get_run(get_trial_run_id(trial)).data
    assert data.metrics["loss"] == 0.04
    assert data.tags["precision"] == "bf16"
    assert not {"predictions", "references"} & data.tags.keys()  # they are longer than the store allows
    assert data.metrics["collapsed"] == 0.0
    assert not {"seed", "nothing", "precision"} & data.metrics.keys()


def test_the_shortest_trial_has_one_resource_sample(client: MlflowClient) -> None:
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    trial.finish({})
    metrics = client.get_run(get_trial_run_id(trial)).data.metrics
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert metrics["system/system_memory_usage_megabytes"] > 0


def read_rows(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def wait_for_samples(file: Path, samples: int) -> None:
    """Wait, at most 20 s, until a file has a number of samples."""
    for _ in range(4000):
        if file.exists() and len(file.read_text().splitlines()) >= samples:
            break
        time.sleep(0.005)


def count_threads() -> int:
    return sum(thread.name == "tracking" for thread in threading.enumerate())


def test_a_trial_without_a_run_writes_resource_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_sampler, "FINE_SECONDS", 0.01)
    file, start = tmp_path / "resources.jsonl", time.time()
    trial = get_tracker().open_trial(IDENTITY, 0, None, tmp_path)
    wait_for_samples(file, 3)
    log_metrics(trial, 1, {"loss": 0.5})
    trial.finish({"score": 0.5})
    rows = read_rows(file)
    assert trial.run is None
    assert [row["step"] for row in rows] == list(range(len(rows)))
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert start - 0.001 <= times[0] <= times[-1] <= time.time() + 0.001
    for row in rows:
        assert all(name in ("step", "time") or name.startswith("system/") for name in row)
        assert 0 <= row["system/cpu_utilization_percentage"] <= 100
        assert row["system/system_memory_usage_megabytes"] > 0


def test_a_failed_trial_stops_sampling(tmp_path: Path) -> None:
    file, before = tmp_path / "resources.jsonl", count_threads()
    trial = get_tracker().open_trial(IDENTITY, 0, None, tmp_path)
    assert count_threads() == before + 1
    trial.fail("ValueError: a bug")
    assert count_threads() == before
    assert len(read_rows(file)) == 1  # the shortest trial has one sample


def test_the_store_receives_the_samples_in_the_file(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_sampler, "FINE_SECONDS", 0.01)
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    file = trial.folder / "resources.jsonl"
    wait_for_samples(file, 20)
    trial.finish({})
    name = "system/system_memory_usage_megabytes"
    points = [
        (point.step, point.timestamp, point.value) for point in client.get_metric_history(get_trial_run_id(trial), name)
    ]
    assert sorted(points) == [(row["step"], round(1000 * row["time"]), row[name]) for row in read_rows(file)]


@pytest.mark.parametrize("when", ["__init__", "collect_metrics"])
def test_a_failing_monitor_costs_only_its_own_curves(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Broken:
        def collect_metrics(self) -> None:
            raise DriverError

    class DriverError(Exception):
        """An error of a GPU's library during a run."""

    module = types.ModuleType("broken")
    module.Broken = Broken if when == "collect_metrics" else lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "mlflow.system_metrics.metrics.broken", module)
    monkeypatch.setattr(
        resource_sampler, "MONITORS", (("broken", "Broken"), ("absent", "Absent"), *resource_sampler.MONITORS)
    )
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    trial.finish({"score": 0.5})
    run = client.get_run(get_trial_run_id(trial))
    assert run.info.status == "FINISHED"
    assert "system/cpu_utilization_percentage" in run.data.metrics


def test_points_are_logged_in_several_batches(client: MlflowClient) -> None:
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    for step in range(2500):
        log_metrics(trial, step, {"loss": float(step)})
    trial.finish({})
    assert len(client.get_metric_history(get_trial_run_id(trial), "loss")) == 2500


def test_files_become_artifacts(client: MlflowClient, tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    note.write_text(json.dumps({"f1": 0.9}))
    record = RECORD | {"trials": []}
    parent = open_cell(IDENTITY)
    run = get_run_id(parent)
    close_cell(parent, record, [note])
    assert [item.path for item in client.list_artifacts(run)] == ["note.json"]


def test_an_identity_is_restored_from_json() -> None:
    identity = Identity("finetune", "a", False, {"ratio": 0.5}, {"git_commit": "c"}, [Input("data", "d", "mrpc")])
    from dataclasses import asdict

    assert Identity.from_dict(json.loads(json.dumps(asdict(identity)))) == identity


def test_two_processes_log_the_same_new_dataset_at_the_same_time(client: MlflowClient, tmp_path: Path) -> None:
    others: list[str] = []

    def log_first(session: Session, *_: object) -> None:
        """Log the dataset after the other process has found it missing, and before it writes."""
        if not others and any(isinstance(item, SqlDataset) for item in session.new):
            others.append("")
            others[0] = runs.create_run(MlflowClient(store.get_uri()), IDENTITY, tmp_path, name="other")

    event.listen(Session, "before_flush", log_first)
    try:
        run = runs.create_run(client, IDENTITY, tmp_path, name="this")
    finally:
        event.remove(Session, "before_flush", log_first)
    for each in (run, *others):
        names = {item.dataset.name for item in client.get_run(each).inputs.dataset_inputs}
        assert names == {item.source for item in IDENTITY.inputs}
