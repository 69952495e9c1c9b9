import io
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from mlflow.tracking import MlflowClient

from pipeline.core.errors import UserError
from pipeline.tracking import Identity
from pipeline.tracking.mlflow import store, ui
from tests.tracking.mlflow.sweeps import open_run


def test_a_port_in_use_is_rejected_if_given_and_skipped_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ui.HOST, 0)) as probe:
        port = probe.getsockname()[1]
        with pytest.raises(UserError) as caught:
            ui._find_free_port(port)
        assert str(caught.value) == (
            f"--port: got {port}, which is in use; give another, or none for the first free one"
        )
        monkeypatch.setattr(ui, "PORTS", range(port, port + 20))
        assert port < ui._find_free_port(None) < port + 20


def test_the_server_listens_on_loopback_and_gets_the_uri_by_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ui, "LOG", tmp_path / "folder" / "log")
    call = {}
    process = SimpleNamespace(stdout=io.StringIO("cannot open postgresql://me:secret@host/db\n"))
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **given: call.update(given, command=command) or process)
    run_inline = lambda target, args, daemon: SimpleNamespace(start=lambda: target(*args))  # noqa: E731
    monkeypatch.setattr(ui.threading, "Thread", run_inline)
    ui._start_server("postgresql://me:secret@host/db", 5001)
    assert call["command"][3:] == ["server", "--host", "127.0.0.1", "--port", "5001", "--workers", "1"]
    assert call["env"]["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:secret@host/db"
    assert call["env"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert ui.LOG.read_text() == "cannot open postgresql://***@host/db\n"


def test_a_tracking_server_gets_links_and_no_second_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000/")
    monkeypatch.setattr(store, "connect", lambda uri: None)
    monkeypatch.setattr(ui.views, "write_views", lambda client: ["Results of mrpc: {address}/#/x"])
    ui.serve()
    assert capsys.readouterr().out == "Results of mrpc: http://***@host:5000/#/x\n"


def test_the_address_of_a_cell_searches_for_its_active_runs(client: MlflowClient) -> None:
    run = open_run(Identity("compress", "narrow"))
    address = ui.get_cell_address("compress", "narrow")
    assert address is not None
    page, text = address.split("&searchFilter=")
    assert page == (f"{ui.ADDRESS}/#/experiments/{store.get_experiment_id(client)}/runs?workflowType=machine_learning")
    shown = client.search_runs([store.get_experiment_id(client)], unquote(text))
    assert [known.info.run_id for known in shown] == [run]


def test_the_address_on_a_server_has_no_credentials(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "get_uri", lambda: "https://me:secret@host:5000/mlflow/")
    monkeypatch.setattr(store, "get_store", lambda: store.Store(f"sqlite:///{store.paths.ROOT / 'mlflow.db'}"))
    assert str(ui.get_cell_address("evaluate", "a")).startswith("https://host:5000/mlflow/#/experiments/")


def test_an_unreachable_store_has_no_addresses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    store._create_store.cache_clear()
    assert ui.get_cell_address("evaluate", "a") is None
    store._create_store.cache_clear()
    assert capsys.readouterr().err.startswith("warning: tracking store http://127.0.0.1:9 is unreachable")
