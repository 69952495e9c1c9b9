"""Checksums of the files of a stage: modified or truncated files are detected and rejected.

A folder's ``sha256.txt`` has the format of `sha256sum --check`. DVC does not verify the files of its cache, so every
`dvc checkout` restores a damaged one; the error message names that file as well.
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
SHOWN_CHARACTERS = 12  # of a digest in a message


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file in ``folder`` to its ``sha256.txt``, except in subfolders that have one."""
    lines = [f"{_compute_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _list_files(folder)]
    (folder / CHECKSUMS_FILE).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path, remedy: Callable[[], str]) -> None:
    """Check that ``folder`` is as ``write_checksums`` left it; ``remedy`` returns the advice for the message.

    A file is read again in the same process only when its size or modification time changed.
    Raises UserError for the first file that is missing, modified or new.
    """
    expected = _read_checksums(folder, remedy)
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{_format_path(path)}: missing, but listed in {CHECKSUMS_FILE}; {remedy()}")
        status = path.stat()
        if (got := _compute_cached(path, status.st_size, status.st_mtime_ns, status.st_ino)) != digest:
            raise UserError(
                f"{_format_path(path)}: modified or truncated: its {status.st_size} bytes have the SHA-256 "
                f"{got[:SHOWN_CHARACTERS]}..., not {digest[:SHOWN_CHARACTERS]}...; "
                f"{_format_removal(path, got)}{remedy()}"
            )
    for path in _list_files(folder):
        if path.relative_to(folder).as_posix() not in expected:
            raise UserError(
                f"{_format_path(path)}: not listed in {CHECKSUMS_FILE}, so one of the two was modified; {remedy()}"
            )


def _read_checksums(folder: Path, remedy: Callable[[], str]) -> dict[str, str]:
    """Return the digest of each file by its name."""
    listing = folder / CHECKSUMS_FILE
    if not listing.is_file():
        raise UserError(f"{_format_path(listing)}: missing, so the other files cannot be verified; {remedy()}")
    digests = {}
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        match = LINE.fullmatch(line)
        if not match:
            raise UserError(f"{_format_path(listing)}: modified or truncated; {remedy()}")
        digests[match[2]] = match[1]
    return digests


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder in order, except its checksums and subfolders that have checksums."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from () if (path / CHECKSUMS_FILE).exists() else _list_files(path)
        elif path.name != CHECKSUMS_FILE:
            yield path


@cache
def _compute_cached(path: Path, size: int, modified_ns: int, inode: int) -> str:
    """Return the SHA-256 of a file with this size, modification time and inode."""
    return _compute_sha256(path)


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _format_removal(path: Path, digest: str) -> str:
    """Return the advice to remove the damaged file of DVC's cache that was restored; its name is its MD5."""
    size = path.stat().st_size
    for copy in sorted(paths.ROOT.glob(".dvc/cache/files/md5/??/*")):
        if (
            copy.stat().st_size == size
            and _compute_sha256(copy) == digest
            and _compute_md5(copy) != copy.parent.name + copy.name
        ):
            return f"the file in DVC's cache is damaged: `rm -f {_format_path(copy)}`, then "
    return ""


def _compute_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _format_path(path: Path) -> str:
    """Return the path of a file for a message, relative to the project if it is inside."""
    return str(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)
