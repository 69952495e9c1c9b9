"""A laboratory of one small cell whose training is light, so that many processes cost little, and servers beside it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.core import checksums

SEEDS = ("--multirun", "+sweep=seeds", "task=starter-swap", "model=starter-2x64", "ratio=1.0")
CELL = "starter-swap-starter-2x64-1.0-standard"
LIGHT = '''"""finetune: eight steps of a linear regression in the place of a model."""
import os
import signal
import time
import torch
from safetensors.torch import save_file
from pipeline.core import paths
from pipeline.execution import entry
from pipeline.core.errors import UserError

def finetune(cfg, out, log):
    if (paths.ROOT / f"broken-{cfg.seed}").exists():
        raise UserError("the loss is nan at step 3 of 8")
    if (paths.ROOT / f"killed-{cfg.seed}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    torch.manual_seed(cfg.seed)
    rows, weight = torch.randn(32, 4), torch.zeros(4, requires_grad=True)
    for step in range(1, 9):
        loss = ((rows @ weight - rows.sum(1)) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        weight.grad = None
        log.log_metrics(step, {"loss": loss.item()})
    (paths.ROOT / f"began-{cfg.seed}").write_text(str(os.getpid()))
    while (paths.ROOT / "slow").exists():
        time.sleep(0.05)
    log.print_line(f"asked {os.environ.get('STORE_URL')}")
    save_file({"weight": weight.detach()}, out / "model.safetensors")
    return {"score": 1 - loss.item(), "process": os.getpid(), "threads": torch.get_num_threads()}

if __name__ == "__main__":
    entry.run_stage(finetune)
'''


@pytest.fixture
def laboratory(project: Path) -> Path:
    """Return a project whose plan has one cell of training, with data and a model to start from."""
    (project / "pipeline/stages/finetune.py").write_text(LIGHT)
    for made, file in (("data/starter-swap", "summary.json"), ("models/starter-2x64", "source.json")):
        (project / made).mkdir(parents=True)
        (project / made / file).write_text('{"kind": "local", "id": "starter", "revision": null}')
        checksums.write_checksums(project / made)
    edit(project / "params.yaml", small)
    return project


@pytest.fixture
def untold(laboratory: Path) -> Path:
    """Return a laboratory whose tracking store is known to be away: that spares each process the import of MLflow."""
    (laboratory / ".cache").mkdir()
    note = {"store": f"sqlite:///{laboratory}/mlflow.db", "tried": time.time()}
    (laboratory / ".cache/store-unreachable.json").write_text(json.dumps(note))
    return laboratory


def small(plan: dict[str, Any]) -> None:
    plan |= {"tasks": ["starter-swap"], "models": ["starter-2x64"], "ratios": [1.0]}
    plan |= {"variants": {}, "distill": {}, "compress": {}}
    plan["benchmark"]["models"] = []


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    yaml = YAML()
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)


def run(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python words`` in a project; the variables are added to the environment."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, env=os.environ | variables, check=False, timeout=300
    )


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(command: list[str], port: int, log: Path, **variables: str) -> Iterator[None]:
    """Run a server until the block ends, once it takes connections at ``port`` of this machine."""
    with log.open("w") as said:
        server = subprocess.Popen(
            command, stdout=said, stderr=said, env=os.environ | variables, start_new_session=True, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(60)


KEYS = {"AWS_ACCESS_KEY_ID": "lab-user-of-s3", "AWS_SECRET_ACCESS_KEY": "lab-secret-of-s3/+"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Return the address of an S3-compatible store on this machine, with a bucket ``lab``."""
    boto3 = pytest.importorskip("boto3", reason="no S3 client: pip install -e '.[dev]'")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, tmp_path / "s3.log"):
        client = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        client.create_bucket(Bucket="lab")
        yield address


def holding(root: Path, secret: str) -> list[Path]:
    """Return the files below a folder that hold a text, whatever they are."""
    files = (path for path in root.rglob("*") if path.is_file())
    return [path.relative_to(root) for path in files if secret.encode() in path.read_bytes()]


def found(program: str) -> str | None:
    """Return where a program of PostgreSQL's lies; Debian has them beside the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(beside[-1]) if beside else shutil.which(program)
