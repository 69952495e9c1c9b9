"""A tracking store that is unreachable, slow, locked, damaged or of another version, at any time."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.tracking import Identity, get_tracker
from pipeline.tracking.base import SyncCounts
from pipeline.tracking.mlflow import outage, runs, store
from pipeline.tracking.mlflow.sync import sync
from tests import fakes
from tests.faults.shelf import SIDES, Client, Shelf
from tests.tracking.mlflow.sweeps import (
    close_cell,
    fail_cell,
    log_metrics,
    open_cell,
    open_trial,
    release_sweeps,
)

RECORD = fakes.finetuning("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
CELL = (RECORD["stage"], RECORD["cell"])
IDENTITY = Identity.from_record(RECORD)
LATER = "; the run continues, and `lab sync` brings the store up to date later\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the folder of the test be the project's, with the files of one cell; nobody is patient."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(store.database, "LOCK_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fakes.write(tmp_path, [RECORD])
    yield tmp_path
    release_sweeps()
    store._create_store.cache_clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sample the machine, which takes time."""
    monkeypatch.setattr("pipeline.tracking.mlflow.resource_sampler.MONITORS", ())


def record() -> dict[str, Any]:
    return json.loads(paths.get_metrics_path(*CELL).read_text())


def run_cell() -> None:
    """Log a cell as its trials do; its files exist already."""
    parent = open_cell(IDENTITY)
    for trial in RECORD["trials"]:
        live = open_trial(IDENTITY, trial["seed"], parent)
        for row in fakes.curve(RECORD, trial):
            log_metrics(live, int(row.pop("step")), row)
        folder = paths.get_trial_dir(*CELL, trial["seed"])
        live.finish(trial, [folder / "config.yaml", folder / "trial.json"])
    close_cell(parent, record(), [paths.get_metrics_path(*CELL)])
    release_sweeps()


def work(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, bad: int = 0, side: str = "before") -> Client:
    """Run the cell as a new process does, with a store whose call number ``bad`` fails."""
    client = Client(shelf, bad, side)
    monkeypatch.setattr(store, "connect", lambda uri: client)
    store._create_store.cache_clear()
    outage.remove_note()
    run_cell()
    return client


@pytest.mark.parametrize("side", SIDES)
def test_a_failure_at_any_call_costs_a_warning_and_sync_completes_the_store(
    side: str, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = Shelf()
    calls = work(undisturbed, monkeypatch).calls
    files = {path: path.read_bytes() for path in paths.ROOT.rglob("*") if path.is_file() and ".cache" not in path.parts}
    assert capsys.readouterr().err == ""
    assert calls > 20
    for bad in range(1, calls + 1):
        shelf = Shelf()
        work(shelf, monkeypatch, bad, side)
        shelf.released.set()
        warning = capsys.readouterr().err
        monkeypatch.setattr(store, "connect", lambda uri, shelf=shelf: Client(shelf))
        sync([CELL])
        assert warning.startswith("warning: tracking store sqlite:///")
        assert warning.endswith(LATER)
        assert warning.count("\n") == 1
        assert "secret" not in warning
        assert shelf.contents() == undisturbed.contents(), bad
        assert {run.info.status for run in shelf.runs.values()} <= {"FINISHED", "KILLED"}, bad
        assert sync([CELL]) == SyncCounts(present=1)
    for path, content in files.items():
        assert path.read_bytes() == content


def test_a_sync_that_fails_at_any_call_is_completed_by_the_next(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = Shelf()
    work(undisturbed, monkeypatch)
    whole = Client(Shelf())
    monkeypatch.setattr(store, "connect", lambda uri: whole)
    sync([CELL])
    for bad in range(1, whole.calls + 1):
        shelf = Shelf()
        monkeypatch.setattr(store, "connect", lambda uri, shelf=shelf, bad=bad: Client(shelf, bad, "after"))
        with pytest.raises(UserError) as caught:
            sync([CELL])
        lost = "ConnectionError: the answer was lost"
        assert str(caught.value) == f"tracking store {store.get_uri()}: {lost}{store.ADVICE}"
        monkeypatch.setattr(store, "connect", lambda uri, shelf=shelf: Client(shelf))
        sync([CELL])
        assert shelf.contents() == undisturbed.contents(), bad
        assert {run.info.status for run in shelf.runs.values()} <= {"FINISHED", "KILLED"}, bad


def test_the_next_cells_neither_try_an_unreachable_store_again_nor_warn(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts: list[str] = []

    def unreachable(uri: str) -> None:
        attempts.append(uri)
        raise ConnectionError("no route")

    clock = [1e9]
    monkeypatch.setattr(store, "connect", unreachable)
    monkeypatch.setattr(outage.time, "time", lambda: clock[0])
    for _ in range(30):  # cells of five minutes each
        store._create_store.cache_clear()
        run_cell()
        if (note := outage.get_note()).exists():
            os.utime(note, (clock[0], clock[0]))
        clock[0] += 300
    assert len(attempts) == 15  # every ten minutes: it may be reachable again
    warning = f"warning: tracking store {store.get_uri()} is unreachable (ConnectionError: no route){LATER}"
    assert capsys.readouterr().err == warning
    clock[0] += 3600
    store._create_store.cache_clear()
    run_cell()
    assert capsys.readouterr().err == warning  # another `dvc repro`
    clock[0] -= 10_000_000  # a clock that was set back asks again
    store._create_store.cache_clear()
    run_cell()
    assert len(attempts) == 17
    shelf = Shelf()
    monkeypatch.setattr(store, "connect", lambda uri: Client(shelf))
    sync([CELL])
    assert not outage.get_note().exists()


def test_another_store_is_tried_although_one_was_unreachable(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    run_cell()
    assert capsys.readouterr().err.startswith("warning: tracking store http://***@127.0.0.1:9 is unreachable (Mlflow")
    assert "secret" not in outage.get_note().read_text()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:8")
    run_cell()
    assert capsys.readouterr().err.startswith("warning: tracking store http://***@127.0.0.1:8 is unreachable (Mlflow")


class Silent(BaseHTTPRequestHandler):
    """A server that accepts every request and answers none in time."""

    over = threading.Event()

    def do_GET(self) -> None:
        self.over.wait(20)

    do_POST = do_GET


class Broken(BaseHTTPRequestHandler):
    """A server that answers every request with an error, and asks to wait for an hour."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "3600")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Dying(Broken):
    """A server that hangs up in the middle of its answer."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"experiment": {"expe')
        self.connection.shutdown(socket.SHUT_RDWR)


class Stranger(Broken):
    """A server that is not MLflow."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>please log in at http://me:secret@host</html>")

    do_POST = do_GET


@pytest.mark.parametrize("kind", [Silent, Broken, Dying, Stranger])
def test_a_faulty_server_costs_one_warning(
    kind: type[BaseHTTPRequestHandler], quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Silent.over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{server.server_port}")
    try:
        run_cell()
    finally:
        Silent.over.set()
        server.shutdown()
        server.server_close()
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: tracking store http://***@127.0.0.1:{server.server_port} is unreachable (")
    assert warning.endswith(LATER)
    assert warning.count("\n") == 1
    assert "secret" not in warning


@pytest.fixture
def database(empty_database: Path, project: Path) -> Path:
    return Path(shutil.copy(empty_database, project / "mlflow.db"))


def execute(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def version(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


OLDER, NEWER = "1bd49d398cd23", "0123456789ab"
RECREATE = "move it away, and `lab sync` creates a new one from the files"


def older(database: Path) -> str:
    before = version(database)
    execute(database, f"UPDATE alembic_version SET version_num = '{OLDER}'", "DROP TABLE trace_info")
    upgrade = f"make a copy of it and run `mlflow db upgrade sqlite:///{database}`"
    return f"its tables are of version {OLDER}, not {before}; {upgrade}"


def newer(database: Path) -> str:
    before = version(database)
    execute(database, f"UPDATE alembic_version SET version_num = '{NEWER}'")
    remedy = "a newer MLflow created them: update this project's, or name another store"
    return f"its tables are of version {NEWER}, not {before}; {remedy}"


def incomplete(database: Path) -> str:
    execute(database, "DROP TABLE metrics")
    return f"some of its tables are missing; {RECREATE}"


def unversioned(database: Path) -> str:
    execute(database, "DROP TABLE alembic_version")
    return f"some of its tables are missing; {RECREATE}"


def garbage(database: Path) -> str:
    database.write_bytes(b"no database " * 1000)
    return f"file is not a database; {RECREATE}"


def cut(database: Path) -> str:
    database.write_bytes(database.read_bytes()[:20_000])
    return f"database disk image is malformed; {RECREATE}"


@pytest.mark.parametrize("spoil", [older, newer, incomplete, unversioned, garbage, cut])
def test_an_unusable_database_is_reported_with_a_remedy_and_not_changed(
    spoil: Callable[[Path], str], database: Path, empty_database: Path, quick: None,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    reason = spoil(database)
    before = database.read_bytes()
    run_cell()
    assert capsys.readouterr().err == f"warning: tracking store sqlite:///{database} is unreachable ({reason}){LATER}"
    with pytest.raises(UserError) as caught:
        sync([CELL])
    assert str(caught.value) == f"tracking store sqlite:///{database}: {reason}"
    assert database.read_bytes() == before
    shutil.copy(empty_database, database)
    assert sync([CELL]) == SyncCounts(created=1)


def test_a_truncated_database_costs_at_most_one_warning_and_no_wait(
    empty_database: Path, project: Path, quick: None, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    whole = empty_database.read_bytes()
    for size in (1, 16, 100, 4097, len(whole) // 2, len(whole) - 1):
        database = project / str(size) / "mlflow.db"
        database.parent.mkdir()
        database.write_bytes(whole[:size])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        run_cell()
        if capsys.readouterr().err.count("\n"):
            assert database.read_bytes() == whole[:size]
        else:  # so little is missing or left that SQLite accepts it
            assert size in (1, len(whole) - 1)
            assert sync([CELL]) == SyncCounts(present=1)


def test_an_empty_file_becomes_a_database(
    project: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 60)
    (project / "mlflow.db").touch()
    (project / "mlflow.db.new").write_bytes(b"left by a killed process")
    run_cell()
    assert capsys.readouterr().err == ""
    assert not (project / "mlflow.db.new").exists()
    assert sync([CELL]) == SyncCounts(present=1)


def test_a_folder_instead_of_the_database_costs_one_warning(
    project: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "mlflow.db").mkdir()
    run_cell()
    reason = "OperationalError: unable to open database file"
    assert capsys.readouterr().err == f"warning: tracking store {store.get_uri()} is unreachable ({reason}){LATER}"


def test_a_locked_database_does_not_delay_a_trial(
    database: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        run_cell()
        reason = "no answer in 0 s"
        assert capsys.readouterr().err == f"warning: tracking store {store.get_uri()} is unreachable ({reason}){LATER}"
        connection.rollback()


@pytest.mark.parametrize("place", ["mlruns", "mlruns/scaling"])
def test_artifacts_that_cannot_be_written_cost_one_warning(
    place: str, database: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    execute(database, f"UPDATE experiments SET artifact_location = '{(database.parent / 'mlruns/scaling').as_uri()}'")
    (database.parent / place).parent.mkdir(exist_ok=True)
    (database.parent / place).write_text("a file instead of a folder")
    run_cell()
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: tracking store sqlite:///{database} is unreachable (")
    assert warning.count("\n") == 1
    (database.parent / place).unlink()
    assert sync([CELL]) == SyncCounts(created=1, retired=1)
    client = MlflowClient(f"sqlite:///{database}")
    assert {run.info.status for run in runs.find_runs(client, "")} == {"FINISHED"}


KILLED = """
import sys, time
from pathlib import Path
from pipeline.core import paths
paths.ROOT = Path(sys.argv[1])
paths.CACHE = paths.ROOT / ".cache"
from tests import fakes
from tests.tracking.mlflow.sweeps import get_run_id, get_trial_run_id, log_metrics, open_cell, open_trial
from pipeline.tracking import Identity
record = fakes.finetuning("mrpc", "bert-tiny", 0.3, seeds=(0, 1))
for exploration in (False, True):
    identity = Identity.from_record(record | {"exploration": exploration})
    parent = open_cell(identity)
    trial = open_trial(identity, 0, parent)
    log_metrics(trial, 1, {"loss": 0.5})
    print(get_run_id(parent), get_trial_run_id(trial), flush=True)
time.sleep(600)
"""


def killed(root: Path, between: Callable[[list[str]], None]) -> tuple[list[str], list[str]]:
    """Return the runs of a cell of the plan and of an exploration, whose process was killed after ``between``."""
    command = [sys.executable, "-c", KILLED, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            assert process.stdout is not None
            planned, explored = process.stdout.readline().split(), process.stdout.readline().split()
            between([*planned, *explored])
        finally:
            process.send_signal(signal.SIGKILL)
    return planned, explored


def states(client: MlflowClient, known: list[str]) -> set[tuple[str, str]]:
    infos = [client.get_run(run).info for run in known]
    return {(info.status, info.lifecycle_stage) for info in infos}


def test_the_run_of_a_killed_process_is_replaced_and_an_active_one_is_not(
    database: Path, project: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    client = MlflowClient(f"sqlite:///{database}")

    def check_active(known: list[str]) -> None:
        assert sync([CELL]) == SyncCounts(created=1)
        assert states(client, known) == {("RUNNING", "active")}
        run_cell()  # another process of the same cell does not change it
        assert states(client, known) == {("RUNNING", "active")}

    planned, explored = killed(project, check_active)
    assert sync([CELL]) == SyncCounts(present=1, retired=1)
    assert states(client, planned) == {("KILLED", "deleted")}
    assert states(client, explored) == {("KILLED", "active")}  # explorations are a history
    assert {run.info.status for run in runs.find_runs(client, "")} == {"FINISHED"}
    assert len(runs.find_cell_runs(client)) == 1


def test_the_next_run_of_a_cell_replaces_the_run_of_a_killed_process(
    database: Path, project: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    client = MlflowClient(f"sqlite:///{database}")
    planned, explored = killed(project, lambda _: None)
    parent = open_cell(IDENTITY)
    store.get_store().flush()
    assert states(client, planned) == {("KILLED", "active")}  # at once, before this one ends
    fail_cell(parent)
    paths.get_metrics_path(*CELL).rename(aside := project / "aside.json")
    assert sync([CELL]) == SyncCounts(waiting=1)
    assert states(client, [*planned, *explored]) == {("KILLED", "active")}
    aside.rename(paths.get_metrics_path(*CELL))
    run_cell()
    assert states(client, planned) == {("KILLED", "deleted")}
    assert sync([CELL]) == SyncCounts(present=1)


def test_a_finished_trial_is_logged_from_its_files_as_if_it_were_live(
    quick: None, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_SECONDS", 20)
    live, finished = Shelf(), Shelf()
    work(live, monkeypatch)
    monkeypatch.setattr(store, "connect", lambda uri: Client(finished))
    store._create_store.cache_clear()
    parent = open_cell(IDENTITY)
    for trial in RECORD["trials"]:
        folder = project / ".cache/trials" / str(trial["seed"])
        shutil.copytree(paths.get_trial_dir(*CELL, trial["seed"]), folder)
        get_tracker().log_finished_trial(IDENTITY, trial["seed"], parent, folder)
    close_cell(parent, record(), [paths.get_metrics_path(*CELL)])
    assert finished.contents() == live.contents()


def test_a_resumed_trial_logs_its_whole_curve(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    shelf = Shelf()
    monkeypatch.setattr(store, "connect", lambda uri: Client(shelf))
    trial = open_trial(IDENTITY, 0, open_cell(IDENTITY))
    for step in (5, 10, 15):  # the first two are from a checkpoint
        log_metrics(trial, step, {"loss": 1 / step})
    trial.finish({"seed": 0, "loss": 0.01})
    store.get_store().flush()
    (trial_run,) = [run for run in shelf.runs.values() if run.data.tags["level"] == "trial"]
    assert trial_run.points["loss"] == [(5, 0.2), (10, 0.1), (15, 1 / 15), (15, 0.01)]
    assert [step for step, _ in trial_run.points["system/cpu_utilization_percentage"]] == [0]


def test_a_cell_with_a_missing_trial_is_left_to_sync(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = Shelf()
    monkeypatch.setattr(store, "connect", lambda uri: Client(shelf))
    parent = open_cell(IDENTITY)
    open_trial(IDENTITY, 0, parent).finish(RECORD["trials"][0])
    close_cell(parent, record())  # without seed 1
    reason = "RuntimeError: trials of finetune mrpc-bert-tiny-0.3-standard are missing"
    assert capsys.readouterr().err == f"warning: tracking store {store.get_uri()} is unreachable ({reason}){LATER}"
    release_sweeps()
    assert sync([CELL]) == SyncCounts(created=1, retired=1)


def test_a_trial_fails_if_its_resource_samples_cannot_be_written(quick: None, project: Path) -> None:
    trial = get_tracker().open_trial(IDENTITY, 0, None, project / "absent")
    with pytest.raises(OSError, match=r"No such file or directory: .*resources\.jsonl"):
        trial.finish({})
