"""Finished trials and checkpoints of a cell, stored in ``.cache/trials/`` until DVC has recorded the cell.

DVC deletes the outputs of a cell before it runs the cell, so an interrupted cell continues from here. A digest of
everything that decides a trial's result is its key; files with another key are deleted. Files are hard links where the
file system supports them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.core import checksums, paths
from pipeline.core.errors import UserError

FOLDER = paths.CACHE / "trials"
RECORD = "record"  # holds the MD5 of the cell's record, which DVC's lock file contains once DVC has it
DONE = "done"  # folder of a finished trial
PRODUCT = "product"  # in ``done``: what the trial made, where that is not in the folder of its records


@dataclass(frozen=True)
class TrialFolders:
    """The folders of a trial: its ``records``, and its ``product`` where that is elsewhere."""

    records: Path
    product: Path | None = None

    @property
    def cached(self) -> Path:
        """The folder of its checkpoints and, in ``done``, of the finished trial."""
        return _get_cache_dir(self.records)

    @property
    def out(self) -> Path:
        """The folder for what the stage's function writes."""
        return self.product or self.records

    def get_checkpoint(self, name: str) -> Path:
        """Return the file of a checkpoint."""
        return self.cached / f"{name}.safetensors"

    @contextmanager
    def lock(self, key: str, waiting: str = "") -> Iterator[None]:
        """Hold the trial for this process, and delete what is cached with another ``key``.

        Prints ``waiting`` and waits where another process holds it, such as one that outlived its parent.
        """
        from filelock import FileLock, Timeout

        self.cached.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.cached}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(waiting, flush=True)
            lock.acquire()
        try:
            key_file = self.cached / "key"
            if _is_recorded(self.cached.parent):
                _remove(self.cached.parent)
            if not key_file.exists() or key_file.read_text() != key:
                shutil.rmtree(self.cached, ignore_errors=True)
                paths.write_bytes(key_file, key.encode())
            yield
        finally:
            lock.release()

    def is_finished(self) -> bool:
        """Return whether the finished trial is cached; delete it and print a warning where a file is damaged."""
        done = self.cached / DONE
        try:
            for folder in (done, done / PRODUCT):
                if folder.exists():
                    checksums.verify_checksums(folder, lambda: "the trial starts again")
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr, flush=True)
            shutil.rmtree(done)
        return done.exists()

    @contextmanager
    def replace(self) -> Iterator[tuple[Path, Path]]:
        """Yield empty folders for the product and the records (often the same); move and cache them on success."""
        with (
            paths.replace_dir(self.records) as records,
            paths.replace_dir(self.product) if self.product else nullcontext(records) as out,
        ):
            yield out, records
            for folder in {out, records}:
                checksums.write_checksums(folder)
            with paths.replace_dir(self.cached / DONE) as done:
                _link(records, done)
                if self.product:
                    _link(out, done / PRODUCT)
        for checkpoint in self.cached.glob("*.safetensors"):
            checkpoint.unlink()

    def restore(self) -> None:
        """Link the cached trial to its folders."""
        with paths.replace_dir(self.records) as folder:
            _link(self.cached / DONE, folder)
            shutil.rmtree(folder / PRODUCT, ignore_errors=True)
        if self.product:
            with paths.replace_dir(self.product) as folder:
                _link(self.cached / DONE / PRODUCT, folder)


def _link(source: Path, target: Path) -> None:
    """Link every file of a folder below another; copy it where the file system has no hard links."""

    def link(file: str, new: str) -> None:
        try:
            os.link(file, new)
        except OSError:
            shutil.copyfile(file, new)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)


def mark_recorded(cell: Path, record: Path) -> None:
    """Let the cache of a cell be removed as soon as DVC has its record; remove that of an exploration now."""
    folder = _get_cache_dir(cell)
    if cell.is_relative_to(paths.ROOT / "runs" / "exploration"):
        _remove(folder)
    else:
        digest = hashlib.md5(record.read_bytes(), usedforsecurity=False).hexdigest()
        paths.write_bytes(folder / RECORD, digest.encode())


def remove_recorded() -> None:
    """Remove the cache of every cell that DVC has recorded."""
    for file in FOLDER.glob(f"*/*/{RECORD}"):
        if _is_recorded(file.parent):
            _remove(file.parent)


def compute_key(inputs: str, seed: int) -> str:
    """Return the digest of what decides a trial's result: its inputs, its seed and the project's code."""
    return hashlib.sha256(json.dumps([inputs, seed, _compute_code_digest()]).encode()).hexdigest()


@cache
def _compute_code_digest() -> str:
    """Return a digest of all modules, since only DVC knows which of them a stage uses."""
    digest = hashlib.sha256()
    for file in sorted((paths.ROOT / "pipeline").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _get_cache_dir(folder: Path) -> Path:
    return FOLDER / folder.relative_to(paths.ROOT / "runs")


def _is_recorded(cell: Path) -> bool:
    """Return whether DVC has the record of a cell, so that it runs again only on request."""
    try:
        digest = (cell / RECORD).read_text()
    except FileNotFoundError:
        return False
    return any(digest in lock.read_text(encoding="utf-8") for lock in paths.list_lock_files() if lock.exists())


def _remove(cell: Path) -> None:
    """Remove what is cached of a cell, except lock files, which other processes may hold."""
    for path in cell.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != ".lock":
            with suppress(FileNotFoundError):
                path.unlink()
