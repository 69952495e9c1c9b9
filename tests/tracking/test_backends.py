import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking import get_tracker
from pipeline.tracking.mlflow.tracker import MLflowTracker

BACKEND = """
import json
from pathlib import Path


def write_call(*values):
    with Path("calls.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\\n")


class LineTrial:
    def __init__(self, seed):
        self.seed = seed

    def finish(self, result, artifacts=()):
        write_call("finish trial", self.seed, sorted(path.name for path in artifacts))

    def fail(self, reason):
        write_call("fail trial", self.seed, reason)


class LineTracker:
    def open_sweep(self, folder):
        pass

    def open_cell(self, identity, folder):
        write_call("open cell", identity.stage, identity.cell)
        return identity.cell

    def open_trial(self, identity, seed, cell, folder):
        return LineTrial(seed)

    def close_cell(self, cell, record, artifacts=()):
        write_call("close cell", record["stage"], cell)

    def flush(self):
        write_call("flush")


def create_tracker():
    return LineTracker()
"""


def test_a_backend_is_one_package(project: Path) -> None:
    package = project / "pipeline" / "tracking" / "lines"
    package.mkdir()
    (package / "__init__.py").write_text(BACKEND)
    (project / "mlflow.db").unlink()
    command = [sys.executable, "-m", "pipeline.stages.prepare", "--multirun", "+sweep=once", "task=starter-swap"]
    environment = {**os.environ, "LAB_TRACKING": "lines"}
    subprocess.run(command, cwd=project, env=environment, check=True, timeout=300)
    assert [json.loads(line) for line in (project / "calls.jsonl").read_text().splitlines()] == [
        ["open cell", "prepare", "starter-swap"],
        ["finish trial", 0, ["config.yaml", "summary.json", "trial.json"]],
        ["close cell", "prepare", "starter-swap"],
        ["flush"],
    ]
    assert not (project / "mlflow.db").exists()


def test_mlflow_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_TRACKING", raising=False)
    assert isinstance(get_tracker(), MLflowTracker)


def test_an_unknown_backend_is_rejected_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TRACKING", "mlfow")
    with pytest.raises(UserError) as caught:
        get_tracker()
    assert str(caught.value) == "LAB_TRACKING: got 'mlfow'; did you mean 'mlflow'? (allowed: mlflow)"
