"""A tracking store per test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.core import paths
from pipeline.tracking.mlflow import store


@pytest.fixture(autouse=True)
def separate_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own store, and its own note that the store is unreachable."""
    monkeypatch.setattr(paths, "CACHE", tmp_path / ".cache")
    yield
    store._create_store.cache_clear()


@pytest.fixture
def client(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Return a client of an empty store; the folder of the test is the project's root."""
    database = shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return MlflowClient(f"sqlite:///{database}")
