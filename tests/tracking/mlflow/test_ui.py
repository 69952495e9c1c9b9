import io
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking.mlflow import store, ui


def test_a_port_that_is_taken_is_refused_by_name_and_passed_over_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ui.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            ui._find_free_port(port)
        assert str(caught.value) == (
            f"--port: got {port}, which is in use; give another, or none for the first free one"
        )
        monkeypatch.setattr(ui, "PORTS", range(port, port + 20))
        assert port < ui._find_free_port(None) < port + 20


def test_a_server_is_asked_for_on_this_machine_only_and_hears_the_uri_in_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ui, "LOG", tmp_path / "folder" / "log")
    asked = {}
    said = SimpleNamespace(stdout=io.StringIO("cannot open postgresql://me:secret@host/db\n"))
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **given: asked.update(given, command=command) or said)
    ran = lambda target, args, daemon: SimpleNamespace(start=lambda: target(*args))  # noqa: E731
    monkeypatch.setattr(ui.threading, "Thread", ran)
    ui._start_server("postgresql://me:secret@host/db", 5001)
    assert asked["command"][3:] == ["server", "--host", "127.0.0.1", "--port", "5001", "--workers", "1"]
    assert asked["env"]["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:secret@host/db"
    assert asked["env"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert ui.LOG.read_text() == "cannot open postgresql://***@host/db\n"


def test_a_store_behind_a_server_gets_links_and_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000/")
    monkeypatch.setattr(store, "connect", lambda uri: None)
    monkeypatch.setattr(ui.views, "write_views", lambda client: ["Results of mrpc: {address}/#/x"])
    ui.serve()
    assert capsys.readouterr().out == "Results of mrpc: http://***@host:5000/#/x\n"
