"""The only place that knows the folders."""

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
# Top folders in which stages and trackers write and delete: no file of a user is safe there (source_paths.py).
OUTPUTS = (".cache", "data", "exports", "metrics", "mlartifacts", "mlruns", "models", "report", "runs")
REPORT = ROOT / "report"
CACHE = ROOT / ".cache"
BACKUP_SUFFIX = ".old.tmp"  # the end of the name under which a folder waits until another has taken its place
SHORT_TEMP_DIR = os.path.join(os.sep, "tmp")  # where temporary files lie whose names have to be short
ALONE = "alone"  # below a student's trial: the same student trained without its teacher


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
    """Return the folder of a cell; explorations live apart from the plan's cells."""
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
    """Return the folder that other stages read, where it is not the trial's own."""
    return (
        {"prepare": get_data_dir, "pretrain": get_model_dir}[stage](name) if stage in ("prepare", "pretrain") else None
    )


def get_metrics_path(stage: str, name: str, *, exploration: bool = False) -> Path:
    """Return the JSON file that holds a cell's numbers."""
    if exploration:
        return get_cell_dir(stage, name, exploration=True) / "metrics.json"
    return ROOT / "metrics" / stage / f"{name}.json"


def get_machine_dir(longest: int = sys.maxsize) -> Path:
    """Return the folder that this user's projects on this machine share: sockets and locks, which only they can enter.

    It is one among the temporary files; below /tmp, where there it would have a name of more than ``longest`` bytes.
    Raises UserError where somebody else could enter it.
    """
    name = f"scaling-lab-{os.getuid()}"
    folder = Path(_temporary(), name)
    if len(os.fsencode(folder)) > longest and os.access(SHORT_TEMP_DIR, os.W_OK | os.X_OK):
        folder = Path(SHORT_TEMP_DIR, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077 or not stat.S_ISDIR(found.st_mode):
        raise UserError(f"{folder} is open to other users; remove it")
    return folder


def _temporary() -> str:
    """Return what ``tempfile.gettempdir`` does, mostly without it: to import it takes every short command long."""
    named = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    for folder in (*named, SHORT_TEMP_DIR):
        if os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    import tempfile

    return tempfile.gettempdir()


@contextmanager
def replace_dir(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside ``path`` that takes its place when the block succeeds.

    A block that fails leaves what stood at ``path`` as it was. A process that is killed leaves a hidden folder behind,
    never a part of one under the name itself.
    """
    beside = _beside(path)
    beside.mkdir(parents=True)
    try:
        yield beside
        aside = beside.with_suffix(BACKUP_SUFFIX)
        with suppress(FileNotFoundError):
            path.rename(aside)
        beside.rename(path)
        _remove(aside)
    finally:
        _beside(path)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON beside ``path``, then rename: a reader never sees half a file.

    Raises ValueError for NaN and infinities, which are not JSON.
    """
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and to the disk, then rename: not even a loss of power leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return where this process may write what is to stand at ``path``, once what dead processes left is gone.

    What stood at ``path`` is put back where such a process had moved it aside.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if process.isdecimal() and (int(process) == os.getpid() or not _alive(int(process))):
            if left.name.endswith(BACKUP_SUFFIX) and not path.exists():
                left.rename(path)  # what stood there, of a process that came no further
            else:
                _remove(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _remove(folder: Path) -> None:
    import shutil  # which every short command would pay for

    shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
