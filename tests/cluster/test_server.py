"""A tracking server on PostgreSQL whose files lie in an S3-compatible store: several write, nothing is told twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from .conftest import CELL, KEYS, SEEDS, found, free_port, holding, run, serving

PASSWORD = "lab-password-of-postgres"
NOBODY = 65534  # PostgreSQL does not run as root


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL on this machine alone; yield the URI of its database."""
    initdb, server = found("initdb"), found("postgres")
    if not (initdb and server):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    user = NOBODY if os.getuid() == 0 else None
    data, word, port = folder / "data", folder / "password", free_port()
    word.write_text(PASSWORD)
    if user:
        for path in (folder, word):
            os.chown(path, user, user)
    begin = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    made = [initdb, "-D", str(data), "-U", "lab", "--auth=scram-sha-256", f"--pwfile={word}", "--no-sync"]
    subprocess.run([*begin, *made], check=True, capture_output=True, cwd=folder)
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
    words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with serving([*begin, server, "-D", str(data), *words], port, folder / "log"):
        yield f"postgresql://lab:{PASSWORD}@127.0.0.1:{port}/postgres"


@pytest.fixture
def server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a tracking server."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install -e '.[dev]'")
    folder, port = Path("/tmp", f"lab-postgres-{os.getpid()}"), free_port()
    folder.mkdir(mode=0o700)
    try:
        with postgres(folder) as uri:
            command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
            variables = {
                "MLFLOW_BACKEND_STORE_URI": uri,
                "MLFLOW_ARTIFACTS_DESTINATION": "s3://lab/mlflow",
                "MLFLOW_S3_ENDPOINT_URL": store,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                **KEYS,
            }
            log = tmp_path_factory.mktemp("server") / "log"
            with serving([*command, "--workers", "1"], port, log, **variables):
                yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_trials_side_by_side_tell_a_server_and_a_sync_adds_nothing(server: str, store: str, laboratory: Path) -> None:
    variables = {"LAB_WARM": "0", "MLFLOW_TRACKING_URI": server}
    cores = ("hydra/launcher=cores", "hydra.launcher.n_jobs=2")
    done = run(laboratory, "-m", "pipeline.stages.finetune", *SEEDS, *cores, **variables)
    assert (done.returncode, done.stderr) == (0, "")

    client = MlflowClient(server)
    known = client.get_experiment_by_name("scaling")
    assert known is not None
    runs = client.search_runs([known.experiment_id])
    assert sorted(each.data.tags.get("seed", "cell") for each in runs) == ["0", "1", "2", "cell"]
    assert {each.info.status for each in runs} == {"FINISHED"}
    parent = next(each.info.run_id for each in runs if each.data.tags["level"] == "cell")
    for each in runs:
        if each.info.run_id != parent:
            assert each.data.tags["mlflow.parentRunId"] == parent
            assert len(client.get_metric_history(each.info.run_id, "loss")) == 8
            files = {file.path for file in client.list_artifacts(each.info.run_id)}
            assert {"config.yaml", "trial.json"} <= files
            assert each.info.artifact_uri.startswith("mlflow-artifacts:/")  # through the server: no key of S3 needed
    assert [file.path for file in client.list_artifacts(parent)] == [f"{CELL}.json"]
    assert in_store(store)

    level = run(laboratory, "-m", "pipeline.cli.main", "sync", **variables)
    assert level.stdout == "0 cells created, 1 already there, 4 not run yet, 0 older runs marked superseded\n"
    assert (level.returncode, level.stderr) == (0, "")
    assert len(client.search_runs([known.experiment_id])) == 4
    for secret in (PASSWORD, *KEYS.values()):
        assert not holding(laboratory, secret)


def in_store(address: str) -> list[str]:
    """Return the names of what the server has put into the store."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    listed = client.list_objects_v2(Bucket="lab").get("Contents", [])
    return [item["Key"] for item in listed if item["Key"].startswith("mlflow/")]
