"""Paths of the project's folders and files, and writes that a killed process cannot leave half-done."""

import glob
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PARAMS = ROOT / "params.yaml"
PIPELINE = "dvc.yaml"
# Top folders in which stages and trackers write and delete, so that no user's file may be there (source_paths.py).
OUTPUTS = (".cache", "data", "exports", "metrics", "mlartifacts", "mlruns", "models", "report", "runs")
REPORT = ROOT / "report"
CACHE = ROOT / ".cache"
BACKUP_SUFFIX = ".old.tmp"  # of a folder until its replacement is in place
SHORT_TEMP_DIR = os.path.join(os.sep, "tmp")  # for paths with a maximum length
ALONE = "alone"  # subfolder of a student's trial: the same student trained without its teacher


def list_pipelines() -> list[Path]:
    """Return each ``dvc.yaml``: the project's own, then one for each part of a plan that is split."""
    return [ROOT / PIPELINE, *sorted((ROOT / "parts").rglob(PIPELINE))]


def list_lock_files() -> list[Path]:
    """Return the ``dvc.lock`` next to each ``dvc.yaml``; it exists once DVC has run a stage of that file."""
    return [file.with_suffix(".lock") for file in list_pipelines()]


def get_data_dir(task: str) -> Path:
    """Return the folder of a prepared task."""
    return ROOT / "data" / task


def get_model_dir(name: str) -> Path:
    """Return the folder of a pre-trained model."""
    return ROOT / "models" / name


def get_cell_dir(stage: str, name: str, *, exploration: bool = False) -> Path:
    """Return the folder of a cell; explorations are in a separate folder."""
    return ROOT / "runs" / ("exploration" if exploration else "") / stage / name


def get_trial_dir(stage: str, name: str, seed: int, *, exploration: bool = False) -> Path:
    """Return the folder of one seed of a cell."""
    return get_cell_dir(stage, name, exploration=exploration) / f"seed-{seed}"


def get_source_dir(source: str, seed: int) -> Path:
    """Return the folder of one seed of ``<stage>/<cell>``, or of ``exploration/<stage>/<cell>``."""
    return ROOT / "runs" / source / f"seed-{seed}"


def get_record_path(source: str) -> Path:
    """Return the JSON file that holds the numbers of ``<stage>/<cell>``, or of ``exploration/<stage>/<cell>``."""
    *outside, stage, name = source.split("/")
    return get_metrics_path(stage, name, exploration=bool(outside))


def get_product_dir(stage: str, name: str) -> Path | None:
    """Return the folder that other stages read, where it is not the folder of the trial."""
    return (
        {"prepare": get_data_dir, "pretrain": get_model_dir}[stage](name) if stage in ("prepare", "pretrain") else None
    )


def get_metrics_path(stage: str, name: str, *, exploration: bool = False) -> Path:
    """Return the JSON file that holds a cell's numbers."""
    if exploration:
        return get_cell_dir(stage, name, exploration=True) / "metrics.json"
    return ROOT / "metrics" / stage / f"{name}.json"


def get_machine_dir(max_length: int = sys.maxsize) -> Path:
    """Return the folder for sockets and locks that all projects of this user on this machine share.

    It is in the folder for temporary files, or in /tmp where its path would have more than ``max_length`` bytes.
    Raises UserError where other users can open it.
    """
    name = f"scaling-lab-{os.getuid()}"
    folder = Path(_get_temp_dir(), name)
    if len(os.fsencode(folder)) > max_length and os.access(SHORT_TEMP_DIR, os.W_OK | os.X_OK):
        folder = Path(SHORT_TEMP_DIR, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077 or not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder} is open to other users; remove it")
    return folder


def _get_temp_dir() -> str:
    """Return ``tempfile.gettempdir()``, mostly without the import, which is slow for a short command."""
    variables = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    for folder in (*variables, SHORT_TEMP_DIR):
        if os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    import tempfile

    return tempfile.gettempdir()


@contextmanager
def replace_dir(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block succeeds.

    If the block fails, ``path`` keeps its content. A killed process leaves a hidden folder, never a partial ``path``.
    """
    temporary = _get_temp_path(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        backup = temporary.with_suffix(BACKUP_SUFFIX)
        with suppress(FileNotFoundError):
            path.rename(backup)
        temporary.rename(path)
        _remove(backup)
    finally:
        _get_temp_path(path)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON in one step, so that a reader never sees half a file.

    Raises ValueError for NaN and infinities, which are not JSON.
    """
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a temporary file, flush it to the disk and rename it: even a power failure leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _get_temp_path(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _get_temp_path(path: Path) -> Path:
    """Return this process's temporary path for ``path``, and remove those of dead processes.

    Restores ``path`` where a dead process had renamed it and not yet replaced it.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if process.isdecimal() and (int(process) == os.getpid() or not _is_alive(int(process))):
            if left.name.endswith(BACKUP_SUFFIX) and not path.exists():
                left.rename(path)
            else:
                _remove(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _remove(folder: Path) -> None:
    import shutil  # slow for a short command

    shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
