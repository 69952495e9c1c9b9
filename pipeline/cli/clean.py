"""Remove outputs of cells that are no longer in the plan: ``lab clean``.

Only files that a stage wrote are removed: a folder whose files all match its checksums, or a record with a valid
signature. Everything else stays and is listed. DVC's cache keeps what it has recorded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core import checksums, paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.runner import dvc_lock_repair
from pipeline.runner.code_digests import STAGES

TRIAL_CACHE = "trials"  # below .cache


def find_unplanned_outputs(study: Plan) -> list[Path]:
    """Return the folders and records of cells that the plan does not have."""
    planned = {(cell.stage, cell.name) for cell in study.cells}
    return sorted(
        path
        for stage in STAGES
        if stage != "compare"
        for path in _list_outputs(stage)
        if (stage, path.stem if path.suffix == ".json" else path.name) not in planned
    )


def _list_outputs(stage: str) -> Iterator[Path]:
    """Yield what the cells of a stage wrote: trials, products, cached trials and records."""
    folders = [paths.get_cell_dir(stage, ""), paths.CACHE / TRIAL_CACHE / stage]
    if product := paths.get_product_dir(stage, ""):
        folders.append(product)
    for folder in folders:
        yield from (path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    yield from (path for path in paths.get_metrics_path(stage, "").parent.glob("*.json"))


def explain_foreign(path: Path) -> str | None:
    """Return why a path has to stay, such as a file in it that no stage wrote, or None if it can be removed."""
    if path.is_relative_to(paths.CACHE):
        return None
    if path.is_symlink():
        return f"{_shorten(path)}: is a link"
    try:
        if path.is_file():
            records.read_record(path)
        elif path.is_relative_to(paths.ROOT / "runs"):
            for trial in path.iterdir():
                checksums.verify_checksums(trial, lambda: "it is not removed")
        else:
            checksums.verify_checksums(path, lambda: "it is not removed")
    except (UserError, NotADirectoryError) as error:
        return str(error).partition("\n")[0]
    return None


def remove(outputs: Sequence[Path]) -> None:
    """Remove folders and records. Raises UserError while DVC runs a stage."""
    with dvc_lock_repair.hold_dvc_lock():
        if dvc_lock_repair.is_dvc_running():
            raise UserError("another `dvc` is running; wait for it, then run the same command again")
        for path in outputs:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def describe(path: Path) -> str:
    """Return a path and its size as a line."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{_shorten(path)}  {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def _shorten(path: Path) -> str:
    return str(path.relative_to(paths.ROOT))
