"""Experiments and runs that were deleted in MLflow's UI."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from pipeline.tracking import Identity
from pipeline.tracking.base import SyncCounts
from pipeline.tracking.mlflow import outage, runs, store, ui
from pipeline.tracking.mlflow.sync import sync
from tests import fakes
from tests.tracking.mlflow.sweeps import (
    close_cell,
    get_run_id,
    get_trial_run_id,
    log_metrics,
    open_cell,
    open_trial,
    release_sweeps,
)

RECORD = fakes.finetuning("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
CELL = (RECORD["stage"], RECORD["cell"])
IDENTITY = Identity.from_record(RECORD)
EXPLORED = Identity("finetune", "mrpc-bert-tiny-0.2-standard", exploration=True)
BACK = "warning: experiment {!r} was deleted in MLflow; it is restored with its runs\n"


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write the files of a cell; trials do not sample the machine."""
    monkeypatch.setattr("pipeline.tracking.mlflow.resource_sampler.MONITORS", ())
    fakes.write(tmp_path, [RECORD])
    yield
    release_sweeps()


def log_cell(identity: Identity = IDENTITY) -> None:
    """Log a cell as its trials do in another process."""
    store._create_store.cache_clear()
    parent = open_cell(identity)
    for trial in RECORD["trials"]:
        open_trial(identity, trial["seed"], parent).finish(trial)
    close_cell(parent, RECORD | {"cell": identity.cell, "exploration": identity.exploration})
    release_sweeps()


def delete(client: MlflowClient, name: str) -> str:
    """Delete an experiment as the UI does; return its id."""
    known = client.get_experiment_by_name(name)
    assert known is not None
    client.delete_experiment(known.experiment_id)
    return str(known.experiment_id)


def list_names(client: MlflowClient, *, exploration: bool = False) -> list[str]:
    return sorted(run.info.run_name for run in runs.find_runs(client, "", exploration=exploration))


WHOLE = [IDENTITY.cell, f"{IDENTITY.cell} seed 0", f"{IDENTITY.cell} seed 1"]


def test_the_next_cell_restores_a_deleted_experiment_with_its_runs(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    log_cell()
    delete(client, store.PLAN)
    other = Identity("finetune", "mrpc-bert-mini-0.3-standard")
    log_cell(other)
    assert capsys.readouterr().err == BACK.format("scaling")
    assert not outage.get_note().exists()
    assert list_names(client) == sorted([*WHOLE, other.cell, f"{other.cell} seed 0", f"{other.cell} seed 1"])


def test_the_next_exploration_restores_its_experiment(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    log_cell(EXPLORED)
    delete(client, store.EXPLORATION)
    log_cell(EXPLORED)
    assert capsys.readouterr().err == BACK.format("scaling-exploration")
    assert len(list_names(client, exploration=True)) == 2 * 3


def test_superseded_runs_stay_deleted(client: MlflowClient) -> None:
    log_cell()
    log_cell()
    delete(client, store.PLAN)
    store.connect(store.get_uri())
    assert list_names(client) == WHOLE
    superseded = client.search_runs([store.get_experiment_id(client)], "", ViewType.DELETED_ONLY)
    assert len(superseded) == 3


def test_sync_restores_both_experiments_and_creates_nothing_twice(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync([CELL]) == SyncCounts(created=1)
    for name in (store.PLAN, store.EXPLORATION):
        delete(client, name)
    assert sync([CELL]) == SyncCounts(present=1)
    assert capsys.readouterr().err == BACK.format("scaling") + BACK.format("scaling-exploration")
    assert list_names(client) == WHOLE


def test_the_browser_opens_on_a_restored_experiment(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync([CELL])
    number = delete(client, store.PLAN)

    class Server:
        pid = 0
        wait = staticmethod(lambda: None)

    def kill(process: int, signal: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(ui, "_start_server", lambda uri, port: Server)
    monkeypatch.setattr(ui, "_wait_for_server", lambda server, port: None)
    monkeypatch.setattr(ui.os, "killpg", kill)
    monkeypatch.setattr(ui.signal, "signal", lambda *_: None)
    ui.serve()
    assert capsys.readouterr().err == BACK.format("scaling")
    assert client.get_experiment(number).lifecycle_stage == "active"


def test_a_permanently_deleted_experiment_is_created_again(client: MlflowClient) -> None:
    log_cell()
    client._tracking_client.store._hard_delete_experiment(delete(client, store.PLAN))
    store.get_experiment_id.cache_clear()
    log_cell()
    assert list_names(client) == WHOLE


@pytest.mark.parametrize("for_good", [False, True])
def test_tracking_continues_after_an_experiment_is_deleted(
    client: MlflowClient, capsys: pytest.CaptureFixture[str], for_good: bool
) -> None:
    log_cell()
    parent = open_cell(EXPLORED)
    get_run_id(parent)  # caches the id of the experiment
    number = delete(client, store.PLAN)
    if for_good:
        client._tracking_client.store._hard_delete_experiment(number)
    other = open_cell(IDENTITY)
    for trial in RECORD["trials"]:
        open_trial(IDENTITY, trial["seed"], other).finish(trial)
    close_cell(other, RECORD)
    assert capsys.readouterr().err == ("" if for_good else BACK.format("scaling"))
    assert not outage.get_note().exists()
    store.get_experiment_id.cache_clear()
    assert list_names(client) == WHOLE


def test_deleted_runs_of_a_running_cell_are_restored(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    parent = open_cell(IDENTITY)
    first = open_trial(IDENTITY, 0, parent)
    first.finish(RECORD["trials"][0])
    client.delete_run(get_trial_run_id(first))
    second = open_trial(IDENTITY, 1, parent)
    client.delete_run(get_trial_run_id(second))
    log_metrics(second, 1, {"loss": 0.5})
    second.finish(RECORD["trials"][1])
    close_cell(parent, RECORD)
    gone = "warning: run '{}' was deleted in MLflow while its process runs; it is restored\n"
    assert sorted(capsys.readouterr().err.splitlines(keepends=True)) == [gone.format(name) for name in WHOLE[1:]]
    assert not outage.get_note().exists()
    assert list_names(client) == WHOLE


@pytest.mark.parametrize(
    ("deleted", "retired"), [(WHOLE, 0), (WHOLE[:1], 2), (WHOLE[1:2], 1), (WHOLE[1:], 1)]
)  # fmt: skip
def test_sync_logs_deleted_runs_again(client: MlflowClient, deleted: list[str], retired: int) -> None:
    sync([CELL])
    for run in runs.find_runs(client, ""):
        if run.info.run_name in deleted:
            client.delete_run(run.info.run_id)
    assert sync([CELL]) == SyncCounts(created=1, retired=retired)
    assert list_names(client) == WHOLE
    (cell,) = runs.find_cell_runs(client)
    assert len(runs.find_runs(client, f"tags.`mlflow.parentRunId` = '{cell.info.run_id}'")) == 2
    assert sync([CELL]) == SyncCounts(present=1)
