"""A tracking store of each test's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline import paths
from pipeline.tracking import store


@pytest.fixture
def client(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """Return a client of an empty store; the folder of the test is the project's root."""
    database = shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    yield MlflowClient(f"sqlite:///{database}")
    store._store.cache_clear()
