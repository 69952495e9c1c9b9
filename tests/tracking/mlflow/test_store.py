import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking import Identity
from pipeline.tracking.mlflow import store
from tests.tracking.mlflow.sweeps import close_cell, log_metrics, open_cell, open_trial

ONCE = """
import multiprocessing
import mlflow.store.tracking.sqlalchemy_store  # imported once, before the fork
from pathlib import Path
from pipeline.tracking import Identity
from pipeline.tracking.mlflow import store
from tests.tracking.mlflow.sweeps import open_cell

def log(number):
    note = Path(open_cell(Identity("finetune", f"cell-{number}")))
    store.get_store().fetch(lambda client: client.log_metric(note.read_text(), "f1", 0.5))
    return note.read_text()

with multiprocessing.get_context("fork").Pool(4) as pool:
    created = pool.map(log, range(8), chunksize=2)
client = store.connect(store.get_uri())
logged = client.search_runs([store.get_experiment_id(client)], "metrics.f1 = 0.5")
assert sorted(run.info.run_id for run in logged) == sorted(created)
"""


def test_four_processes_at_once_create_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    done = subprocess.run([sys.executable, "-c", ONCE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_store_is_in_the_project_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.get_uri() == f"sqlite:///{store.paths.ROOT}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert store.get_uri() == "http://host:5000"


def test_an_unreachable_store_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    identity = Identity("finetune", "mrpc-bert-tiny-1.0-standard")
    for seed in range(2):
        parent = open_cell(identity)
        trial = open_trial(identity, seed, parent)
        log_metrics(trial, 1, {"loss": 0.5})
        trial.finish({"f1": 0.9})
        close_cell(parent, {})
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(
        "warning: tracking store http://***@127.0.0.1:9 is unreachable (MlflowException: API request"
    )
    assert warning.endswith("; the run continues, and `lab sync` brings the store up to date later")
    assert "secret" not in warning


def test_a_store_that_becomes_unreachable_costs_one_warning(
    client: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = Identity("finetune", "mrpc-bert-tiny-1.0-standard")
    parent = open_cell(identity)
    trial = open_trial(identity, 0, parent)
    store.get_store().flush()
    monkeypatch.setattr(store.get_store(), "_client", None)
    monkeypatch.setattr(store, "connect", _unreachable)
    log_metrics(trial, 1, {"loss": 0.5})
    trial.finish({"f1": 0.9})
    close_cell(parent, {})
    uri = store.get_uri()
    assert capsys.readouterr().err == (
        f"warning: tracking store {uri} is unreachable (ConnectionError: no route to ***@host); "
        "the run continues, and `lab sync` brings the store up to date later\n"
    ).replace("to ***@", "to tcp://***@")


def test_an_unreachable_store_is_an_error_for_commands_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "connect", _unreachable)
    with pytest.raises(UserError) as caught, store.open_client("postgresql://me:secret@host/db"):
        pass
    assert str(caught.value) == (
        "tracking store postgresql://***@host/db: ConnectionError: no route to tcp://***@host; "
        "start it, or set MLFLOW_TRACKING_URI to a reachable one"
    )


def _unreachable(uri: str) -> None:
    raise ConnectionError("no route to tcp://me:secret@host")
