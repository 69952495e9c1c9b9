"""The store in a browser, on this machine only, opened where there is something to see."""

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

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.redaction import redact
from pipeline.tracking.mlflow import store, views

HOST = "127.0.0.1"
PORTS = range(5000, 5100)
ADDRESS = f"http://{HOST}:{PORTS.start}"
PATIENCE_SECONDS = 120.0
LOG = paths.CACHE / "mlflow-ui.log"
# 2 processes and 0.5 GB instead of 15 and 3 GB: the job service belongs to MLflow's language-model tools.
LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def show(port: int | None = None) -> None:
    """Serve the store until interrupted and print links into it; a store behind a server needs only the links.

    Raises UserError where the store does not answer, the port is taken or the server does not start.
    """
    uri = store.location()
    with store.answering(uri) as client:
        links = views.publish(client)
    if uri.startswith(("http://", "https://")):
        _tell(redact(uri).rstrip("/"), links)
        return
    port = _free_port(port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = _start(uri, port)
    try:
        _await(server, port)
        _tell(f"http://{HOST}:{port}", links)
        print("Ctrl-C ends the server.", flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # the server and its worker
        server.wait()


def _start(uri: str, port: int) -> subprocess.Popen[str]:
    """Start the server; the URI goes by the environment, where other users cannot read it."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    settings = {**os.environ, **LEAN, "MLFLOW_BACKEND_STORE_URI": uri}
    server = subprocess.Popen(
        command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert server.stdout is not None
    threading.Thread(target=_keep, args=[server.stdout], daemon=True).start()
    return server


def _keep(words: IO[str]) -> None:
    """Keep what the server says, which may name the store with its credentials."""
    LOG.parent.mkdir(exist_ok=True)
    with words, LOG.open("w", encoding="utf-8") as log:
        for line in words:
            log.write(redact(line))
            log.flush()


def _await(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"MLflow's server on port {port} did not start; its own words stand in {LOG}")


def _free_port(wanted: int | None) -> int:
    for port in PORTS if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    if wanted is None:
        raise UserError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free; name one: --port 8080")
    raise UserError(f"--port: {wanted} is taken; name another, or none to take the first free one from {PORTS.start}")


def _tell(address: str, links: list[str]) -> None:
    for link in links:
        print(link.format(address=address))
    if not links:
        print(f"{address}/#/experiments?workflowType=machine_learning")
        print("no evaluated cell here yet: run `dvc repro`, or `lab sync` where the results lie in files")
