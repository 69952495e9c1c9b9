"""Addresses of runs that stay the same when a cell runs again: they ask for the cell, not for a run."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.core.redaction import remove_credentials
from pipeline.tracking.mlflow import store, ui


def address(stage: str, cell: str) -> str | None:
    """Return where a browser finds the active runs of a cell; None where the store is away.

    Behind a server it is the server's address, else the one that ``lab ui`` takes first.
    """
    experiment = store.current().ask(store.experiment)
    if experiment is None:
        return None
    uri = store.location()
    server = remove_credentials(uri) if uri.startswith(("http://", "https://")) else ui.ADDRESS
    wanted = quote(f"tags.stage = '{stage}' and tags.cell = '{cell}'")
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning&searchFilter={wanted}"
