"""Data and models through a DVC remote: pushed to an S3-compatible store, pulled elsewhere, nothing trained again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

from .conftest import KEYS, edit, holding, small

MAKE = """import pathlib, sys
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name) if path.suffix == ".json" else (path.mkdir(exist_ok=True), (path / "made").write_text(name))
with open("ran.txt", "a") as file:
    file.write(" ".join(sys.argv[1:2]) + "\\n")
"""
GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def quick(content: dict[str, Any]) -> None:
    """Let every stage but the check of the plan and the digests make its outputs and nothing else."""
    for name, block in content["stages"].items():
        stage = block.get("do", block)
        made = [*stage.get("outs", []), *stage.get("metrics", [])]
        names = (made if isinstance(made, str) else next(iter(made)) for made in made)
        if name not in ("check", "code-digests", "source-digests"):
            stage["cmd"] = " ".join(["python make.py", *names])


def called(root: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, **GIT, **KEYS, "PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=variables, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(root: Path, *words: str) -> str:
    return called(root, sys.executable, "-m", "dvc", *words)


def test_a_clone_elsewhere_pulls_what_was_pushed_and_runs_no_cell(
    project: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dvc_s3", reason="no S3 for DVC: pip install -e '.[dev]'")
    edit(project / "params.yaml", small)
    edit(project / "dvc.yaml", quick)
    (project / "make.py").write_text(MAKE)
    shutil.copy(ROOT / ".gitignore", project)
    called(project, "git", "init", "-q")
    dvc(project, "init", "-q")
    shutil.copy(ROOT / ".dvc/config", project / ".dvc/config")
    dvc(project, "remote", "add", "-q", "-d", "lab", "s3://lab/study")
    dvc(project, "remote", "modify", "-q", "lab", "endpointurl", store)
    dvc(project, "repro", "-q")
    cells = {"data/starter-swap", "models/starter-2x64", "runs/finetune/starter-swap-starter-2x64-1.0-standard"}
    assert cells < set((project / "ran.txt").read_text().split())
    dvc(project, "push", "-q")
    (project / "ran.txt").unlink()
    called(project, "git", "add", "-A")
    called(project, "git", "commit", "-q", "-m", "the study")

    clone = tmp_path / "elsewhere"
    called(tmp_path, "git", "clone", "-q", str(project), str(clone))
    assert not (clone / "runs").exists()
    dvc(clone, "pull", "-q")
    assert all((clone / cell / "made").read_text() == cell for cell in cells)
    dvc(clone, "repro", "-q")
    assert not (clone / "ran.txt").exists()  # only the check of the plan and the digests have run
    assert (clone / "dvc.lock").read_text() == (project / "dvc.lock").read_text()
    for secret in KEYS.values():
        assert not holding(project, secret)
        assert not holding(clone, secret)
