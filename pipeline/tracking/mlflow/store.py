"""Connection to the tracking store, and the thread that talks to it, however unreachable or slow the store is."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.redaction import redact
from pipeline.tracking.mlflow import database, outage, restore

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PLAN, EXPLORATION = "scaling", "scaling-exploration"
# An unreachable server must be noticed in seconds; MLflow's defaults are several minutes.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # it may ask for hours
}
ADVICE = "; start it, or set MLFLOW_TRACKING_URI to a reachable one"
BATCH_SECONDS = 5.0  # actions are run together this long after the first: they compete with a trial for Python
TIMEOUT_SECONDS = 30.0  # at the end of a cell, for a store that has not received everything yet

Result = TypeVar("Result")
Action = Callable[["MlflowClient"], Result]


def get_uri() -> str:
    """Return the URI of the store: ``MLFLOW_TRACKING_URI``, or a database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{database.SQLITE}{paths.ROOT / 'mlflow.db'}"


def connect(uri: str) -> MlflowClient:
    """Return a client of the store at ``uri``, in which both experiments exist; deleted ones are restored.

    Raises DatabaseError for an invalid URI or an unusable database, and any error of MLflow, the driver or the network.
    """
    import_mlflow(uri)
    from mlflow.tracking import MlflowClient

    _check_credentials(uri)
    artifacts = database.prepare_database(uri) if database.is_database(uri) else None
    client = MlflowClient(tracking_uri=uri)
    _create_experiments(client, artifacts)
    database.set_concurrent_reads(uri)
    return client


def import_mlflow(uri: str) -> None:
    """Import what a client of the store needs, and silence its logs: errors are raised as well."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import_module("mlflow.tracking")
    if database.is_database(uri):
        import_module("mlflow.store.tracking.sqlalchemy_store")
    for logger in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)


def _check_credentials(uri: str) -> None:
    """Reject a URI whose credentials contain separators: later errors would show parts of them."""
    credentials, at, _ = uri.partition("://")[2].rpartition("@")
    separators = "@" if database.is_database(uri) else "@/?#"
    if at and any(letter in credentials for letter in separators):
        raise database.DatabaseError("write @, /, ? and # in its credentials as %40, %2F, %3F and %23")


def _create_experiments(client: MlflowClient, artifacts: str | None) -> None:
    """Create the missing experiments, below the URI ``artifacts``, and restore the deleted ones."""
    for name in (PLAN, EXPLORATION):
        experiment = client.get_experiment_by_name(name)  # returns deleted ones as well
        if experiment is None:
            _create_experiment(client, name, artifacts and f"{artifacts}/{name}")
        elif experiment.lifecycle_stage == restore.DELETED:
            restore.restore_experiment(client, experiment)


def _create_experiment(client: MlflowClient, name: str, artifacts: str | None) -> None:
    """Create an experiment, unless another process creates it at the same time."""
    try:
        client.create_experiment(name, artifact_location=artifacts)
    except Exception:
        if client.get_experiment_by_name(name) is None:
            raise


def _is_deleted(client: MlflowClient, name: str) -> bool:
    """Return whether an experiment was deleted, softly or for good."""
    experiment = client.get_experiment_by_name(name)
    return experiment is None or experiment.lifecycle_stage == restore.DELETED


@lru_cache(maxsize=8)
def get_experiment_id(client: MlflowClient, *, exploration: bool = False) -> str:
    """Return the id of the plan's experiment, or of the one for explorations."""
    experiment = client.get_experiment_by_name(EXPLORATION if exploration else PLAN)
    assert experiment is not None, "connect() creates both"
    return str(experiment.experiment_id)


@contextmanager
def open_client(uri: str) -> Iterator[MlflowClient]:
    """Yield a client for work that needs the store.

    Raises UserError if the store is unreachable.
    """
    try:
        yield connect(uri)
    except UserError:
        raise
    except Exception as error:  # any error of a store, a driver or the network
        advice = "" if isinstance(error, database.DatabaseError) else ADVICE
        raise UserError(f"tracking store {redact(uri)}: {_format_error(error)}{advice}") from None
    outage.remove_note()


def _format_error(error: Exception) -> str:
    text = redact(" ".join(str(error).split()))
    return text if isinstance(error, database.DatabaseError) else f"{type(error).__name__}: {text[:200]}"


class QueuedAction(NamedTuple):
    """An action on the store's client, the future of its result, and whether a caller waits for it."""

    action: Action[Any]
    future: Future[Any]
    at_once: bool


class Store:
    """A store that may be unreachable or hang: one thread runs all actions on it, in the order of submission.

    Actions are collected for some seconds, unless a caller waits, so that they do not disturb a short trial. After the
    first error the store counts as unreachable: one warning is printed and no other action is run.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.is_unreachable = outage.is_recent(uri)
        self._client: MlflowClient | None = None
        self._queue: SimpleQueue[QueuedAction] = SimpleQueue()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warning_lock = threading.Lock()

    def submit(self, action: Action[Result], *, at_once: bool = False) -> Future[Result | None]:
        """Queue an action on the store's client; return the future of its result, None if the store fails.

        The thread is a daemon: a store that hangs does not keep the process alive.
        """
        future: Future[Result | None] = Future()
        if self.is_unreachable:
            future.set_result(None)
            return future
        with self._start_lock:
            if self._thread is None:
                import_mlflow(self.uri)  # not in the thread: two threads that import can lock each other out
                self._thread = threading.Thread(target=self._run_actions, name="store", daemon=True)
                self._thread.start()
        self._queue.put(QueuedAction(action, future, at_once))
        return future

    def fetch(self, action: Action[Result]) -> Result | None:
        """Return the result of an action; None if the store is unreachable or does not answer in time."""
        try:
            return self.submit(action, at_once=True).result(TIMEOUT_SECONDS)
        except TimeoutError:
            self.mark_unreachable(f"no answer in {TIMEOUT_SECONDS:.0f} s")
            return None

    def flush(self) -> None:
        """Wait, with a time limit, until all submitted actions have run."""
        with self._warning_lock:  # the warning is printed before this process may end
            is_unreachable = self.is_unreachable
        if is_unreachable:
            outage.update_note_time()
        elif self._thread is not None:
            self.fetch(lambda client: None)

    def mark_unreachable(self, reason: str) -> None:
        """Run no more actions, and warn of it once."""
        with self._warning_lock:
            if not self.is_unreachable:
                self.is_unreachable = True
                outage.print_warning(self.uri, reason)

    def _run_actions(self) -> None:
        while True:
            for queued in self._collect_actions():
                queued.future.set_result(self._run_action(queued.action))

    def _collect_actions(self) -> list[QueuedAction]:
        """Wait for an action, and collect more until a caller waits or ``BATCH_SECONDS`` are over."""
        actions = [self._queue.get()]
        deadline = time.monotonic() + BATCH_SECONDS
        while not actions[-1].at_once:
            try:
                actions.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                break
        return actions

    def _run_action(self, action: Action[Result]) -> Result | None:
        if self.is_unreachable:
            return None
        try:
            self._client = self._client or connect(self.uri)
            try:
                return action(self._client)
            except Exception as error:
                if not restore.may_be_deletion(error):
                    raise
                self._client = self._restore_deleted(self._client)
                return action(self._client)
        except Exception as error:  # any error of a store, a driver or the network: the trial continues
            self.mark_unreachable(_format_error(error))
            return None

    def _restore_deleted(self, client: MlflowClient) -> MlflowClient:
        """Restore what was deleted in MLflow since the store was opened; return the client to continue with."""
        get_experiment_id.cache_clear()  # an experiment that was deleted for good gets another id
        if any(_is_deleted(client, name) for name in (PLAN, EXPLORATION)):
            client = connect(self.uri)
        for exploration in (False, True):
            restore.restore_runs(client, get_experiment_id(client, exploration=exploration))
        return client


def get_store() -> Store:
    """Return this process's view of the store."""
    return _create_store(get_uri(), os.getpid())


@cache
def _create_store(uri: str, process: int) -> Store:
    """Return one store per process: neither a connection nor a thread survives a fork."""
    return Store(uri)
