"""What the tests share: a copy of the project to change at will, and the folder of real data where it stands."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

os.environ["LAB_WARM"] = "0"  # a test must not leave a server behind
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # every core has a worker of pytest's already

import pipeline  # noqa: E402, F401 (before transformers: it says what transformers need not import)


def drop_waits(lines: list[str]) -> list[str]:
    """Return printed lines without those about cores that other tests, or other projects, measure on."""
    return [line for line in lines if " for core" not in line]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data and checkpoints (`LAB_MIRROR`, or `shared` beside the project)."""
    folder = Path(os.environ.get("LAB_MIRROR", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set LAB_MIRROR to a folder with data/ and models/")
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tracking store to copy: MLflow takes seconds to create one."""
    from pipeline.tracking.mlflow import store

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.connect(f"sqlite:///{database}")
    return database


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> Path:
    """Return a copy of the project's code and plan in a folder of its own."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", "dvc.lock")
    for folder in ("conf", "hydra_plugins", "pipeline", "starter"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for file in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / file, copy / file)
    shutil.copy(empty_database, copy / "mlflow.db")
    return copy
