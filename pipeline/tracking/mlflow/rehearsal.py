"""A run told to a store that is thrown away: what MLflow and SQLAlchemy make at first use lies ready then."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.tracking.mlflow import database, runs, store
from pipeline.tracking.mlflow.identity import Identity, Input


def rehearse() -> None:
    """Tell a cell of one trial as a stage would; nothing stays but what was imported, compiled and cached."""
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        folder = Path(made)
        shown = folder / "shown.json"
        shown.touch()
        uri = f"{database.SQLITE}{folder / 'mlflow.db'}"
        store.load(uri)
        database.sketch(uri)
        client = store.connect(uri)
        identity = Identity("evaluate", "rehearsal", tags={"inputs_sha256": "0"}, inputs=[Input("data", "0", "none")])
        cell = runs.create_run(client, identity, folder, name=identity.cell)
        runs.end_dead(client, identity)
        trial = runs.create_trial(client, identity, folder, 0, cell)
        result = {"seed": 0, "score": 1.0, "family": "none"}
        runs.send(client, trial, runs.finals(result, {}, 0.0))
        runs.finish_trial(client, trial, result, [shown])
        record = {"stage": identity.stage, "cell": identity.cell, "trials": [result], "summary": {}}
        runs.complete(client, cell, record, [shown])
        runs.replace_earlier(client, cell, record, folder)
        client._tracking_client.store.engine.dispose()  # no connection may be open where a process forks
