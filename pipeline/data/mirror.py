"""A local folder that replaces the Hub: ``data/<task>/`` and ``models/<name>/``, searched before any source.

The variable ``LAB_MIRROR`` or the key ``mirror`` of ``conf/prepare.yaml`` and ``conf/pretrain.yaml`` names it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pipeline.core.errors import UserError, format_line

Kind = Literal["data", "models"]


def find(mirror: str | None, kind: Kind, name: str) -> Path | None:
    """Return the mirror's folder of a task or model, or None where there is no mirror or it has none.

    Raises UserError when the mirror is no folder, when what it holds lies elsewhere, or is neither file nor folder:
    air-gapped users copy a mirror about, and a link that leads out of it would be read here and be missing there; a
    pipe would be waited for without end.
    """
    if not mirror:
        return None
    root = _root(mirror)
    if root is None or not os.path.isdir(root):
        raise UserError(
            f"mirror {format_line(mirror)}: no such folder; name one that holds data/<task>/ and models/<name>/"
        )
    folder = root / kind / name
    if not os.path.isdir(folder):  # False for a name that is too long, where pathlib raises
        return None
    try:
        for path in _below(folder):
            _check(path, root, mirror)
    except OSError as error:
        raise UserError(
            f"mirror {format_line(mirror)}: {kind}/{format_line(name)} cannot be read: {error.strerror}"
        ) from None
    return folder


def _root(mirror: str) -> Path | None:
    try:
        return Path(mirror).expanduser().resolve()
    except (RuntimeError, ValueError):  # links in a circle, the home of nobody
        return None


def _below(folder: Path) -> Iterator[Path]:
    """Yield a folder and everything below it; what links to a folder is yielded and not entered."""

    def fail(error: OSError) -> None:
        raise error

    yield folder
    for place, folders, files in os.walk(folder, onerror=fail):
        yield from (Path(place, name) for name in sorted([*folders, *files]))


def _check(path: Path, root: Path, mirror: str) -> None:
    where = format_line(f"mirror {mirror}: {path.relative_to(root)}")
    try:
        leads = path.resolve()
    except RuntimeError:
        raise UserError(f"{where} leads to itself; remove it") from None
    if not leads.is_relative_to(root):
        raise UserError(
            f"{where} leads out of the mirror, to {format_line(leads)}; copy what it leads to into the mirror"
        )
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{where} is neither a file nor a folder; remove it")
    if not os.access(path, os.R_OK):
        raise UserError(f"{where} cannot be read: give yourself the right to")


def advice(mirror: str | None, kind: Kind, name: str) -> str:
    """Say what to do when a source is away and the mirror has not got it either."""
    place = f"{kind}/{name}/"
    if mirror:
        return f"the mirror {mirror} has no {place} either; put it there, or go online"
    return f"no mirror is named; put {place} into a folder that LAB_MIRROR names, or go online"
