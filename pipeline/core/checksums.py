"""Digests of what a stage made, kept beside it, so that a file that was cut short or altered since is named, not read.

A folder's ``sha256.txt`` is what `sha256sum --check` reads. DVC does not look at its own copies again when it lays them
out, so a broken one comes back with every `dvc checkout`: then it is named too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError

CHECKSUMS_FILE = "sha256.txt"
LINE = re.compile(r"([0-9a-f]{64})  (.+)\n")
SHOWN_CHARACTERS = 12  # characters of a digest that a message tells


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file below ``folder``, but of folders that have their own, into its ``sha256.txt``."""
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / CHECKSUMS_FILE).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path, remedy: Callable[[], str]) -> None:
    """Look whether ``folder`` is as ``write`` left it; ``remedy`` says what to do where it is not.

    What was looked at once in this process is not read again until its size or its time of change is another.
    Raises UserError naming the first file that is missing, altered or new.
    """
    expected = _expected(folder, remedy)
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{_shown(path)}: missing, though {CHECKSUMS_FILE} beside it names it; {remedy()}")
        known = path.stat()
        if (got := _once(path, known.st_size, known.st_mtime_ns, known.st_ino)) != digest:
            raise UserError(
                f"{_shown(path)}: altered or cut short since it was made: its {known.st_size} bytes have the SHA-256 "
                f"{got[:SHOWN_CHARACTERS]}..., not {digest[:SHOWN_CHARACTERS]}...; {_removal(path, got)}{remedy()}"
            )
    for path in _files(folder):
        if path.relative_to(folder).as_posix() not in expected:
            raise UserError(
                f"{_shown(path)}: {CHECKSUMS_FILE} does not name it, so one of the two is altered; {remedy()}"
            )


def _expected(folder: Path, remedy: Callable[[], str]) -> dict[str, str]:
    """Return the digest of each file by its name."""
    listing = folder / CHECKSUMS_FILE
    if not listing.is_file():
        raise UserError(f"{_shown(listing)}: missing, so nothing tells whether the rest is whole; {remedy()}")
    found = {}
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        match = LINE.fullmatch(line)
        if not match:
            raise UserError(f"{_shown(listing)}: altered or cut short since it was made; {remedy()}")
        found[match[2]] = match[1]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder in order, but for its digests and for folders that have digests of their own."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from () if (path / CHECKSUMS_FILE).exists() else _files(path)
        elif path.name != CHECKSUMS_FILE:
            yield path


@cache
def _once(path: Path, size: int, changed: int, number: int) -> str:
    """Return the SHA-256 of a file of that size, time of change and inode."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _removal(path: Path, digest: str) -> str:
    """Say which of DVC's own copies has to go first, where the broken file came from one: its name is its MD5."""
    size = path.stat().st_size
    for copy in sorted(paths.ROOT.glob(".dvc/cache/files/md5/??/*")):
        if copy.stat().st_size == size and _sha256(copy) == digest and _md5(copy) != copy.parent.name + copy.name:
            return f"DVC's own copy of it is broken: `rm -f {_shown(copy)}`, then "
    return ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _shown(path: Path) -> str:
    """Return what a message calls a file: its place in the project, or its whole path."""
    return str(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)
