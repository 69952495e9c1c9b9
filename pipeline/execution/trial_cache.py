"""Finished trials and checkpoints, kept beside a cell's outputs until DVC has recorded the cell.

DVC wipes the outputs of a cell before it runs it again. What a dead process had finished lies here, so that the next
one takes it as it is. What is kept is of one key, a digest of all that decides the result: of another key it is
dropped. Files are linked, not copied, where the file system can.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core import checksums, paths
from pipeline.core.errors import UserError

FOLDER = paths.CACHE / "trials"
RECORDED = "record"  # the MD5 of the cell's record, by which DVC's lock file knows it
DONE = "done"  # the folder of a trial that has ended
PRODUCT = "product"  # in it, what the trial made, where that lies elsewhere than its records


@dataclass(frozen=True)
class Home:
    """Where a trial belongs: the folder of its ``records``, and that of its ``product`` where this is another one."""

    records: Path
    product: Path | None = None

    @property
    def folder(self) -> Path:
        """Return where its checkpoints are kept, and in ``done`` all that it made once it has ended."""
        return _place(self.records)

    @property
    def out(self) -> Path:
        """Return where what it makes belongs."""
        return self.product or self.records

    def checkpoint(self, name: str) -> Path:
        """Return the file of a checkpoint."""
        return self.folder / f"{name}.safetensors"

    @contextmanager
    def opened(self, key: str, waits: Callable[[], None] = lambda: None) -> Iterator[Home]:
        """Have the trial for this process alone; what is kept of another ``key`` is dropped.

        Another process that works on the same trial, such as one that outlived its parent, is waited for, after
        ``waits`` was called.
        """
        from filelock import FileLock, Timeout

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.folder}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waits()
            lock.acquire()
        try:
            self._drop_others(key)
            yield self
        finally:
            lock.release()

    def _drop_others(self, key: str) -> None:
        if _recorded(self.folder.parent):
            _forget(self.folder.parent)
        known = self.folder / "key"
        if not known.exists() or known.read_text() != key:
            shutil.rmtree(self.folder, ignore_errors=True)
            paths.write_bytes(known, key.encode())

    @property
    def finished(self) -> bool:
        """Say whether the trial has ended and what is kept of it is whole; what is not is dropped."""
        done = self.folder / DONE
        try:
            for folder in (done, done / PRODUCT):
                if folder.exists():
                    checksums.verify_checksums(folder, lambda: "the trial begins anew")
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr, flush=True)
            shutil.rmtree(done)
        return done.exists()

    @contextmanager
    def fresh(self) -> Iterator[tuple[Path, Path]]:
        """Yield fresh folders for what the trial makes and for its records, often the same.

        When the block succeeds they get digests, are kept, and take their places.
        """
        with ExitStack() as stack:
            records = stack.enter_context(paths.replace_dir(self.records))
            out = stack.enter_context(paths.replace_dir(self.product)) if self.product else records
            yield out, records
            for folder in {out, records}:
                checksums.write_checksums(folder)
            with paths.replace_dir(self.folder / DONE) as done:
                _link(records, done)
                if out != records:
                    _link(out, done / PRODUCT)
        for left in self.folder.glob("*.safetensors"):
            left.unlink()

    def restore(self) -> None:
        """Lay the finished trial where it belongs."""
        with paths.replace_dir(self.records) as fresh:
            _link(self.folder / DONE, fresh, leaving=PRODUCT)
        if self.product:
            with paths.replace_dir(self.product) as fresh:
                _link(self.folder / DONE / PRODUCT, fresh)

    def result(self) -> dict[str, Any]:
        """Return what the finished trial came to."""
        content: dict[str, Any] = json.loads((self.records / "trial.json").read_text(encoding="utf-8"))
        return {name: value for name, value in content.items() if name != "artifacts"}


def _link(source: Path, target: Path, leaving: str = "") -> None:
    """Give every file of a folder a second name below another; a copy where a file can have one name only."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    ignored = (lambda *_: [leaving]) if leaving else None
    shutil.copytree(source, target, ignore=ignored, copy_function=link, dirs_exist_ok=True)


def closed(cell: Path, record: Path) -> None:
    """Say that a cell has its record: what is kept of it goes when DVC has that record, of an exploration at once."""
    if cell.is_relative_to(paths.ROOT / "runs" / "exploration"):
        _forget(_place(cell))
    else:
        paths.write_bytes(
            _place(cell) / RECORDED, hashlib.md5(record.read_bytes(), usedforsecurity=False).hexdigest().encode()
        )


def tidy() -> None:
    """Drop what is kept of cells that DVC has recorded."""
    for note in FOLDER.glob(f"*/*/{RECORDED}"):
        if _recorded(note.parent):
            _forget(note.parent)


def key(inputs: str, seed: int) -> str:
    """Return what a trial's result depends on, as one digest: its inputs, its seed, and the code of the project."""
    return hashlib.sha256(json.dumps([inputs, seed, _code()]).encode()).hexdigest()


@cache
def _code() -> str:
    """Return a digest of all modules: DVC knows which of them matter, a trial that died need not."""
    found = hashlib.sha256()
    for file in sorted((paths.ROOT / "pipeline").rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


def _place(folder: Path) -> Path:
    """Return where is kept what belongs to a folder below ``runs/``."""
    return FOLDER / folder.relative_to(paths.ROOT / "runs")


def _recorded(cell: Path) -> bool:
    """Say whether DVC has the result of a cell for good: then the cell runs again only because somebody asks."""
    try:
        known = (cell / RECORDED).read_text()
    except FileNotFoundError:
        return False
    return any(known in lock.read_text(encoding="utf-8") for lock in paths.list_lock_files() if lock.exists())


def _forget(cell: Path) -> None:
    for left in cell.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.suffix != ".lock":
            with suppress(FileNotFoundError):
                left.unlink()
