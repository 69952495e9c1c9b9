"""Credentials in URIs, in the environment and in overrides reach nothing that is kept, shown or told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from pipeline.core import paths, redaction
from pipeline.core.errors import UserError, format_error
from pipeline.core.redaction import redact, redact_values, remove_credentials
from pipeline.system import preload_server
from pipeline.tracking import Identity, Input
from pipeline.tracking.mlflow import runs, store, ui
from pipeline.tracking.mlflow.sync import sync
from tests import fakes
from tests.tracking.mlflow.sweeps import close_cell, get_run_id, open_cell, open_trial, release_sweeps

PRINTED = st.characters(categories=("L", "N", "P", "S"))
CREDENTIAL = st.text(PRINTED, min_size=1, max_size=30)
LONG = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=redaction.MIN_LENGTH, max_size=30)
SCHEMES = st.sampled_from(["http", "https", "postgresql", "postgresql+psycopg2", "mysql+pymysql", "mssql", "s3", "ssh"])


@given(SCHEMES, CREDENTIAL, CREDENTIAL)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_user_and_password_of_a_uri_is_masked(scheme: str, user: str, password: str) -> None:
    for who in (f"{user}:{password}", f"{quote(user, safe='')}:{quote(password, safe='')}", user, f":{password}"):
        assert (
            redact(f"cannot reach {scheme}://{who}@host:5000/db now") == f"cannot reach {scheme}://***@host:5000/db now"
        )
        assert remove_credentials(f"{scheme}://{who}@host:5000/db/") == f"{scheme}://host:5000/db"


@given(st.sampled_from(["token", "password", "api_key", "sig", "X-Amz-Signature", "access_token", "user"]), CREDENTIAL)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_any_credential_in_the_query_of_a_uri_is_masked(name: str, credential: str) -> None:
    given = quote_plus(credential)
    assert redact(f"at http://host/db?x=1&{name}={given}&y=2") == f"at http://host/db?x=1&{name}=***&y=2"
    assert remove_credentials(f"http://host/db?{name}={given}") == "http://host/db"


@given(LONG)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_a_credential_of_the_environment_is_masked_however_it_is_written(credential: str) -> None:
    encoded = quote(credential, safe="")
    for planted in (
        {"MLFLOW_TRACKING_URI": f"postgresql://me:{credential}@host/db"},
        {"MLFLOW_TRACKING_URI": f"postgresql://me:{encoded}@host/db"},
        {"LAB_MIRROR": f"https://host/data?token={quote_plus(credential)}"},
        {"HF_TOKEN": credential},
        {"AWS_SECRET_ACCESS_KEY": credential},
    ):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in planted.items():
                patch.setenv(name, value)
            for shown in (credential, encoded, quote_plus(credential), repr(credential), json.dumps(credential)):
                assert credential not in redact(f"<{shown}>")
                assert encoded not in redact(f"<{shown}>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:se@cr/et@host/db", "postgresql://***@host/db"),
        ("https://token@host:5000/api twice", "https://***@host:5000/api twice"),
        ("https://x-access-token:ghp_1234@github.com/me/it.git", "https://***@github.com/me/it.git"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=***&password=***&x=1"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("['+hf_token=abc', 'seed=1']", "['+hf_token=***', 'seed=1']"),
        ('{"password": "a b", "seed": 1}', '{"password": "***", "seed": 1}'),
        ("mirror: https://me:a@host/x\napi_key: abc\n", "mirror: https://***@host/x\napi_key: ***\n"),
        ("pad_token: '[PAD]'\nmax_tokens: 5\ntoken: null\n", "pad_token: '[PAD]'\nmax_tokens: 5\ntoken: null\n"),
        ("inference_flops_per_token: 7e7", "inference_flops_per_token: 7e7"),
        (
            "http://host/#/runs?a=b&viewStateShareKey=results-mrpc",
            "http://host/#/runs?a=b&viewStateShareKey=results-mrpc",
        ),
    ],
)
def test_credentials_are_masked_and_nothing_else_is(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_a_configuration_is_kept_without_credentials_and_otherwise_as_it_is() -> None:
    known = {"mirror": "s3://key:abc@bucket", "hf_token": "abc", "seeds": [0, "x"], "ratio": 0.5, "token": None}
    kept = {"mirror": "s3://***@bucket", "hf_token": "***", "seeds": [0, "x"], "ratio": 0.5, "token": None}
    assert redact_values({"prepare": known}) == {"prepare": kept}


def test_an_error_is_told_without_credentials() -> None:
    assert format_error(UserError("mirror: got https://me:secret@host/x")) == "error: mirror: got https://***@host/x"


@pytest.mark.parametrize("uri", ["http://me:se/cret@host", "http://me:se?cret@host", "postgresql://me:se@cret@host/db"])
def test_a_uri_whose_credentials_break_it_apart_is_refused_without_a_piece_of_them(uri: str) -> None:
    with pytest.raises(UserError) as caught, store.open_client(uri):
        pass
    scheme, host = uri.partition("://")[0], uri.rpartition("@")[2]
    encode = "write @, /, ? and # in its credentials as %40, %2F, %3F and %23"
    assert str(caught.value) == f"tracking store {scheme}://***@{host}: {encode}"


# Each is looked for as it is, in the form that a URI gives it, and in parts.
PLANTED = {
    "MLFLOW_TRACKING_URI": "http://planted-user:planted%40pass%2Fword@127.0.0.1:9/?token=planted-query",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
    "MLFLOW_TRACKING_TOKEN": "planted-bearer",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+key=",
    "HF_TOKEN": "hf_planted",
    "GIT_ASKPASS_TOKEN": "ghp_planted",
}
LEAKS = (b"planted", b"pass%2Fword", b"pass/word", b"aws+key", b"aws%2Bkey")


def leaks(root: Path) -> list[str]:
    """Return the files below ``root`` that hold a part of what was planted, in their bytes or in their names."""
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return [str(path) for path in files if any(leak in path.read_bytes() + bytes(path) for leak in LEAKS)]


def failures() -> list[str]:
    """Return what drivers and libraries say of the store, the mirror and the keys."""
    return [f"cannot open {value}; {value!r} with {name}={value}" for name, value in PLANTED.items()]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a project's folder, in an environment that is full of credentials."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CACHE", tmp_path / ".cache")
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    release_sweeps()
    store._create_store.cache_clear()


def log_cell(record: dict[str, object], reachable: bool) -> str:
    """Log a cell whose texts contain credentials, with a failed trial for each text; return the id of its run."""
    words = dict(enumerate(failures()))
    identity = Identity.from_record(record | {"tags": {f"word_{number}": word for number, word in words.items()}})
    identity.params["source"] = f"finetune/{words[0]}"
    identity.inputs.append(Input("model", "0" * 64, "bert-tiny"))
    parent = open_cell(identity)
    for seed, failure in words.items():
        open_trial(identity, seed + 10, parent).fail(f"OSError: {failure}")
    for trial in record["trials"]:
        open_trial(identity, trial["seed"], parent).finish(trial | {"note": words[1]})
    run = get_run_id(parent) if reachable else ""
    close_cell(parent, record)
    return run


def test_the_warning_of_an_unreachable_store_has_no_credentials(
    planted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log_cell(fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0,)), reachable=False)
    out, err = capfd.readouterr()
    assert "warning: tracking store http://***@127.0.0.1:9/?token=*** is unreachable" in err
    assert not any(leak in (out + err).encode() for leak in LEAKS)
    assert leaks(planted) == []


def test_no_byte_of_a_store_holds_a_credential(
    planted: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (planted / "mlflow.db").write_bytes(empty_database.read_bytes())
    monkeypatch.setattr(store, "get_uri", lambda: f"sqlite:///{planted / 'mlflow.db'}")
    record = fakes.evaluation("mrpc", "bert-tiny", 0.3, seeds=(0,))
    run = log_cell(record, reachable=True)
    client = MlflowClient(store.get_uri())
    tags = client.get_run(run).data.tags
    assert tags["word_0"] == (
        "cannot open http://***@127.0.0.1:9/?token=***; 'http://***@127.0.0.1:9/?token=***' with "
        "MLFLOW_TRACKING_URI=http://***@127.0.0.1:9/?token=***"
    )
    failed = runs.find_runs(client, "attributes.status = 'FAILED'")
    assert len(failed) == len(PLANTED)
    fakes.write(planted, [record])
    sync([(record["stage"], record["cell"])])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert leaks(planted) == []


TOY = '''"""toy: a stage that says, and fails of, whatever it knows."""
import os
import subprocess
import sys
import warnings
from pipeline.execution import entry
from pipeline.core.errors import UserError

def toy(cfg, out, log):
    known = [value for name, value in os.environ.items() if name in cfg.names]
    log.print_line(f"opens {known} from {cfg.mirror}")
    print(cfg, file=sys.stderr)
    warnings.warn(known[-1])
    if cfg.seed == 1:
        raise UserError(f"cannot open {known}")
    if cfg.seed == 2:
        raise ValueError(f"cannot open {known[0]}") from OSError(known[1])
    return {"score": 0.5 + cfg.seed, "note": str(known)}

if __name__ == "__main__":
    entry.run_stage(toy)
'''
CONF = "defaults: [workspace, _self_]\ncell: toy\nmirror: null\nhf_token: null\nnames: []\n"


def test_a_command_prints_and_keeps_no_credential_whatever_fails(project: Path) -> None:
    (project / "pipeline/stages/toy.py").write_text(TOY)
    (project / "conf/toy.yaml").write_text(CONF)
    for words in (["init", "-q"], ["remote", "add", "origin", "https://x:ghp_planted@host/it.git"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    secret = ["mirror='https://me:planted-mirror@host/data'", "hf_token=planted-override"]
    names = f"names=[{','.join(PLANTED)}]"
    for seeds in ("0", "1,2"):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.stages.toy", "--multirun", f"seed={seeds}", names, *secret],
            cwd=project, env={**os.environ, **PLANTED, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == (seeds == "0"), done.stderr.decode()
        assert b"toy seed" in done.stdout
        assert not [line for line in (done.stdout + done.stderr).splitlines() if any(leak in line for leak in LEAKS)]
        assert done.stderr.count(b"warning: tracking store") == (seeds == "0")  # one of all commands
    assert (project / "runs/exploration/toy/toy/metrics.json").exists()
    assert leaks(project / "runs") + leaks(project / ".cache") == []
    assert leaks(project) == []


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Return where a process and those below it listen for connections from a network."""
    every = [process, *process.children(recursive=True)]
    found = [known for each in every for known in each.net_connections("inet")]
    return {(known.laddr.ip, known.laddr.port) for known in found if known.status == psutil.CONN_LISTEN}


def test_the_ui_listens_on_this_machine_alone_and_names_no_credential_to_its_neighbours(
    planted: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "LOG", planted / ".cache" / "mlflow-ui.log")
    (planted / ".cache").mkdir()
    (planted / "mlflow.db").write_bytes(empty_database.read_bytes())
    port = ui._find_free_port(None)
    server = ui._start_server(f"sqlite:///{planted / 'mlflow.db'}", port)
    try:
        ui._wait_for_server(server, port)
        process = psutil.Process(server.pid)
        assert listening(process) == {("127.0.0.1", port)}
        words = " ".join(word for each in (process, *process.children(recursive=True)) for word in each.cmdline())
        assert "127.0.0.1" in words
        assert not any(leak in words.encode() for leak in LEAKS)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    assert leaks(planted) == []


def test_the_preload_server_listens_on_a_socket_of_its_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preload_server, "IDLE_SECONDS", 0.0)
    handler = signal.getsignal(signal.SIGCHLD)
    server = preload_server.Server(tmp_path / "socket", started_ns=0)
    try:
        assert server.listener.family == preload_server.socket.AF_UNIX
        assert listening(psutil.Process()) == set()
    finally:  # or every child of a later test that ends writes to a closed socket
        signal.signal(signal.SIGCHLD, handler)
        os.close(signal.set_wakeup_fd(-1))
        server.selector.close()
        server.listener.close()
        server.wakeup.close()
