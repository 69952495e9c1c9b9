"""MLflow's UI in a browser, on this machine only, and the links into it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from typing import IO
from urllib.parse import quote

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.redaction import redact, remove_credentials
from pipeline.tracking.mlflow import store, views

HOST = "127.0.0.1"
PORTS = range(5000, 5100)
ADDRESS = f"http://{HOST}:{PORTS.start}"
START_SECONDS = 120.0
LOG = paths.CACHE / "mlflow-ui.log"
# 2 processes and 0.5 GB instead of 15 and 3 GB: the job service belongs to MLflow's language-model tools.
SERVER_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def get_cell_address(stage: str, cell: str) -> str | None:
    """Return a URL that shows the active runs of a cell; None if the store is unreachable.

    It searches for the cell, so that it stays valid when the cell runs again. Without a tracking server it has the
    address that ``lab ui`` uses first.
    """
    experiment = store.get_store().fetch(store.get_experiment_id)
    if experiment is None:
        return None
    uri = store.get_uri()
    server = remove_credentials(uri) if _is_server(uri) else ADDRESS
    text = quote(f"tags.stage = '{stage}' and tags.cell = '{cell}'")
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning&searchFilter={text}"


def serve(port: int | None = None) -> None:
    """Serve the store until interrupted and print links into it; for a tracking server print the links only.

    Raises UserError if the store is unreachable, the port is in use or the server does not start.
    """
    uri = store.get_uri()
    with store.open_client(uri) as client:
        links = views.write_views(client)
    if _is_server(uri):
        _print_links(redact(uri).rstrip("/"), links)
        return
    port = _find_free_port(port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = _start_server(uri, port)
    try:
        _wait_for_server(server, port)
        _print_links(f"http://{HOST}:{port}", links)
        print("Ctrl-C ends the server.", flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # the server and its worker
        server.wait()


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _start_server(uri: str, port: int) -> subprocess.Popen[str]:
    """Start the server; the URI is in the environment, where other users cannot read it."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, **SERVER_SETTINGS, "MLFLOW_BACKEND_STORE_URI": uri}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert server.stdout is not None
    threading.Thread(target=_write_log, args=[server.stdout], daemon=True).start()
    return server


def _write_log(output: IO[str]) -> None:
    """Write the server's output, which may contain the URI with its credentials, to a redacted log."""
    LOG.parent.mkdir(exist_ok=True)
    with output, LOG.open("w", encoding="utf-8") as log:
        for line in output:
            log.write(redact(line))
            log.flush()


def _wait_for_server(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"MLflow's server on port {port} did not start; see {LOG}")


def _find_free_port(port: int | None) -> int:
    for candidate in PORTS if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return candidate
    if port is None:
        raise UserError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free; give another: --port 8080")
    raise UserError(f"--port: got {port}, which is in use; give another, or none for the first free one")


def _print_links(address: str, links: list[str]) -> None:
    for link in links:
        print(link.format(address=address))
    if not links:
        print(f"{address}/#/experiments?workflowType=machine_learning")
        print("no evaluated cell here yet: run `dvc repro`, or `lab sync` if the results are in files")
