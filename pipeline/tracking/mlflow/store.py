"""Where the tracking store is, how it is opened, and what happens when it is away, slow or hangs."""

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
# A server that is down must be noticed in seconds: MLflow's own patience is several minutes.
PATIENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # it may ask for hours
}
ADVICE = "; start it, or set MLFLOW_TRACKING_URI to one that answers"
HEARS_SECONDS = 5.0  # after the first of what is new it hears all of it: telling takes turns with a trial's own Python
PATIENCE_SECONDS = 30.0  # at the end of a cell, for a store that has not heard everything yet

Result = TypeVar("Result")
Action = Callable[["MlflowClient"], Result]


def location() -> str:
    """Return the URI of the store: ``MLFLOW_TRACKING_URI``, or a database in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{database.SQLITE}{paths.ROOT / 'mlflow.db'}"


def connect(uri: str) -> MlflowClient:
    """Return a client of the store at ``uri``, in which both experiments exist; deleted ones are restored.

    Raises database.Unfit where its content or the URI is not what it should be, and whatever MLflow, the driver or
    the network raises.
    """
    load(uri)
    from mlflow.tracking import MlflowClient

    _understood(uri)
    artifacts = database.prepare(uri) if database.is_one(uri) else None
    client = MlflowClient(tracking_uri=uri)
    _ensure_experiments(client, artifacts)
    database.share(uri)
    return client


def _ensure_experiments(client: MlflowClient, artifacts: str | None) -> None:
    """Create the experiments that do not exist, below the URI ``artifacts``, and restore those that were deleted."""
    for name in (PLAN, EXPLORATION):
        known = client.get_experiment_by_name(name)  # which returns deleted ones as well
        if known is None:
            _add_experiment(client, name, artifacts and f"{artifacts}/{name}")
        elif known.lifecycle_stage == restore.DELETED:
            restore.restore_experiment(client, known)


def load(uri: str) -> None:
    """Import what talks to a store and let it be silent: what it has to say is raised as well."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    import_module("mlflow.tracking")
    if database.is_one(uri):
        import_module("mlflow.store.tracking.sqlalchemy_store")
    for talker in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(talker).setLevel(logging.CRITICAL)


def _understood(uri: str) -> None:
    """Refuse a URI whose credentials break it apart: the errors that follow would show pieces of them."""
    credentials, at, _ = uri.partition("://")[2].rpartition("@")
    apart = "@" if database.is_one(uri) else "@/?#"
    if at and any(letter in credentials for letter in apart):
        raise database.Unfit("write @, /, ? and # in its credentials as %40, %2F, %3F and %23")


def _add_experiment(client: MlflowClient, name: str, artifacts: str | None) -> None:
    """Create an experiment, or find that another process has just done it."""
    try:
        client.create_experiment(name, artifact_location=artifacts)
    except Exception:
        if client.get_experiment_by_name(name) is None:
            raise


def _is_deleted(client: MlflowClient, name: str) -> bool:
    """Return whether an experiment was deleted, for a while or for good."""
    known = client.get_experiment_by_name(name)
    return known is None or known.lifecycle_stage == restore.DELETED


@lru_cache(maxsize=8)
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
        advice = "" if isinstance(error, database.Unfit) else ADVICE
        raise UserError(f"tracking store {redact(uri)}: {_reason(error)}{advice}") from None
    outage.back()


def _reason(error: Exception) -> str:
    text = redact(" ".join(str(error).split()))
    return text if isinstance(error, database.Unfit) else f"{type(error).__name__}: {text[:200]}"


class Told(NamedTuple):
    """What is to be done with the store's client, and who hears what comes of it."""

    action: Action[Any]
    answer: Future[Any]
    at_once: bool


class Store:
    """A store that may be away, slow or hang: one thread talks to it, in the order in which it is told.

    It hears what is new every few seconds, and at once where somebody waits for that, so that a short trial is not
    disturbed by it. Once it fails it is told nothing more, which one warning says.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.is_away = outage.lately(uri)
        self._client: MlflowClient | None = None
        self._actions: SimpleQueue[Told] = SimpleQueue()
        self._starting = threading.Lock()
        self._talker: threading.Thread | None = None
        self._giving_up = threading.Lock()

    def tell(self, action: Action[Result], *, at_once: bool = False) -> Future[Result | None]:
        """Let ``action`` be done with the store's client and go on; what comes is its result, or None where it fails.

        The thread is the daemon's kind: a store that hangs holds no process back.
        """
        answer: Future[Result | None] = Future()
        if self.is_away:
            answer.set_result(None)
            return answer
        with self._starting:
            if self._talker is None:
                load(self.uri)  # not there: two threads that import at the same time can lock each other out
                self._talker = threading.Thread(target=self._talk, name="store", daemon=True)
                self._talker.start()
        self._actions.put(Told(action, answer, at_once))
        return answer

    def ask(self, action: Action[Result]) -> Result | None:
        """Return what ``action`` makes of the store's client, or None where the store is away or does not answer."""
        try:
            return self.tell(action, at_once=True).result(PATIENCE_SECONDS)
        except TimeoutError:
            self.give_up(f"no answer in {PATIENCE_SECONDS:.0f} s")
            return None

    def settle(self) -> None:
        """Wait until the store has heard everything, but not for ever."""
        with self._giving_up:  # the warning is said before this process may end
            is_away = self.is_away
        if is_away:
            outage.still()
        elif self._talker is not None:
            self.ask(lambda client: None)

    def give_up(self, reason: str) -> None:
        """Tell the store nothing more and warn of it, once."""
        with self._giving_up:
            if not self.is_away:
                self.is_away = True
                outage.tell(self.uri, reason)

    def _talk(self) -> None:
        while True:
            for told in self._gathered():
                told.answer.set_result(self._attempt(told.action))

    def _gathered(self) -> list[Told]:
        """Wait for something to tell, and on until its time has come."""
        gathered = [self._actions.get()]
        due = time.monotonic() + HEARS_SECONDS
        while not gathered[-1].at_once:
            try:
                gathered.append(self._actions.get(timeout=max(0.0, due - time.monotonic())))
            except Empty:
                break
        return gathered

    def _attempt(self, action: Action[Result]) -> Result | None:
        if self.is_away:
            return None
        try:
            self._client = self._client or connect(self.uri)
            try:
                return action(self._client)
            except Exception as error:
                if not restore.may_be_deletion(error):
                    raise
                self._client = self._restore(self._client)
                return action(self._client)
        except Exception as error:  # any error of a store, a driver or the network: the trial continues
            self.give_up(_reason(error))
            return None

    def _restore(self, client: MlflowClient) -> MlflowClient:
        """Bring back what was deleted in MLflow since the store was opened; return the client to continue with."""
        experiment.cache_clear()  # one that was removed for good comes back under another id
        if any(_is_deleted(client, name) for name in (PLAN, EXPLORATION)):
            client = connect(self.uri)
        for exploration in (False, True):
            restore.restore_runs(client, experiment(client, exploration=exploration))
        return client


def current() -> Store:
    """Return this process's view of the store."""
    return _store(location(), os.getpid())


@cache
def _store(uri: str, process: int) -> Store:
    """Return one store a process: neither a connection nor a thread survives a fork."""
    return Store(uri)
