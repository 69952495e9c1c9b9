from urllib.parse import unquote

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking import Identity
from pipeline.tracking.mlflow import store, ui
from pipeline.tracking.mlflow.ui import get_cell_address
from tests.tracking.mlflow.sweeps import open_run


def test_a_link_asks_for_the_active_runs_of_a_cell(client: MlflowClient) -> None:
    run = open_run(Identity("compress", "narrow"))
    found = get_cell_address("compress", "narrow")
    assert found is not None
    page, wanted = found.split("&searchFilter=")
    assert page == (f"{ui.ADDRESS}/#/experiments/{store.get_experiment_id(client)}/runs?workflowType=machine_learning")
    shown = client.search_runs([store.get_experiment_id(client)], unquote(wanted))
    assert [known.info.run_id for known in shown] == [run]


def test_a_server_is_linked_to_without_its_credentials(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "get_uri", lambda: "https://me:secret@host:5000/mlflow/")
    monkeypatch.setattr(store, "get_store", lambda: store.Store(f"sqlite:///{store.paths.ROOT / 'mlflow.db'}"))
    assert str(get_cell_address("evaluate", "a")).startswith("https://host:5000/mlflow/#/experiments/")


def test_a_store_that_is_away_has_no_links(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    store._create_store.cache_clear()
    assert get_cell_address("evaluate", "a") is None
    store._create_store.cache_clear()
    assert capsys.readouterr().err.startswith("warning: tracking store http://127.0.0.1:9 is unreachable")
