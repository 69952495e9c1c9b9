"""Where the tracking store is, how it is opened, and what happens when it is away."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline import paths
from pipeline.errors import UserError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PLAN, EXPLORATION = "scaling", "scaling-exploration"
SQLITE = "sqlite:///"
# A server that is down must be noticed in seconds: MLflow's own patience is several minutes.
PATIENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}

Result = TypeVar("Result")


def location() -> str:
    """Return the URI of the store: ``MLFLOW_TRACKING_URI``, or a database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{paths.ROOT / 'mlflow.db'}"


def masked(text: str) -> str:
    """Return ``text`` with the credentials of every URI in it replaced by ``***``."""
    text = re.sub(r"(?<=://)[^\s/]+@", "***@", text)
    return re.sub(r"(?i)([?&](?:user|password|token|key|secret)=)[^&\s'\"]+", r"\1***", text)


def connect(uri: str) -> MlflowClient:
    """Return a client of the store at ``uri``, in which both experiments exist.

    A database is created and extended under a file lock, because several processes that create one at the same
    time break it for good. Raises whatever MLflow, the driver or the network raises.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from filelock import FileLock
    from mlflow.tracking import MlflowClient

    for talker in ("mlflow", "alembic"):
        logging.getLogger(talker).setLevel(logging.WARNING)
    if not uri.startswith(SQLITE):
        client = MlflowClient(tracking_uri=uri)
        _add_experiments(client, artifacts=None)
        return client
    database = Path(uri.removeprefix(SQLITE)).absolute()
    with FileLock(f"{database}.lock"):
        client = MlflowClient(tracking_uri=uri)
        _add_experiments(client, artifacts=(database.parent / "mlruns").as_uri())
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers and writers stop waiting for each other
    return client


def _add_experiments(client: MlflowClient, artifacts: str | None) -> None:
    for name in (PLAN, EXPLORATION):
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=artifacts and f"{artifacts}/{name}")


def experiment(client: MlflowClient, *, exploration: bool = False) -> str:
    """Return the id of the plan's experiment, or of the one for explorations."""
    found = client.get_experiment_by_name(EXPLORATION if exploration else PLAN)
    assert found is not None, "connect() creates both"
    return str(found.experiment_id)


@contextmanager
def answering(uri: str) -> Iterator[MlflowClient]:
    """Yield a client for work that is nothing without the store.

    Raises UserError where the store does not answer.
    """
    try:
        yield connect(uri)
    except UserError:
        raise
    except Exception as error:  # whatever a store, a driver or the network raises
        advice = "start it, or set MLFLOW_TRACKING_URI to one that answers"
        raise UserError(f"tracking store {masked(uri)}: {_reason(error)}; {advice}") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {masked(' '.join(str(error).split()))[:200]}"


class Store:
    """A store that may be away: it warns once and is silent from then on."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._away = False
        self._opening = threading.Lock()

    def attempt(self, action: Callable[[MlflowClient], Result]) -> Result | None:
        """Return what ``action`` makes of the store's client, or None where the store is away."""
        if self._away:
            return None
        try:
            with self._opening:
                self._client = self._client or connect(self.uri)
            return action(self._client)
        except Exception as error:  # whatever a store, a driver or the network raises: the trial goes on
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        self._away = True
        print(
            f"warning: tracking store {masked(self.uri)} is away ({_reason(error)}); "
            "the work goes on, and `make sync` brings the store level later",
            file=sys.stderr,
            flush=True,
        )


def current() -> Store:
    """Return this process's view of the store."""
    return _store(location(), os.getpid())


@cache
def _store(uri: str, process: int) -> Store:
    """Return one store a process: a connection does not survive a fork."""
    return Store(uri)
