"""A folder that stands in for the Hub: ``data/<task>/`` and ``models/<name>/``, asked before any source.

The variable ``LAB_MIRROR`` or the key ``mirror`` of ``conf/prepare.yaml`` and ``conf/pretrain.yaml`` names it.
"""

from pathlib import Path
from typing import Literal

from pipeline.errors import UserError

Kind = Literal["data", "models"]


def find(mirror: str | None, kind: Kind, name: str) -> Path | None:
    """Return the mirror's folder of a task or model, or None where there is no mirror or it has none.

    Raises UserError when the mirror is no folder, or when what it holds lies elsewhere: air-gapped users copy a
    mirror about, and a link that leads out of it would be read here and be missing there.
    """
    if not mirror:
        return None
    root = Path(mirror).expanduser().resolve()
    if not root.is_dir():
        raise UserError(f"mirror {mirror}: no such folder; name one that holds data/<task>/ and models/<name>/")
    folder = root / kind / name
    if not folder.is_dir():
        return None
    for path in (folder, *sorted(folder.iterdir())):
        if not path.resolve().is_relative_to(root):
            raise UserError(
                f"mirror {mirror}: {path.relative_to(root)} leads out of the mirror, to {path.resolve()}; "
                "copy what it leads to into the mirror"
            )
    return folder


def advice(mirror: str | None, kind: Kind, name: str) -> str:
    """Say what to do when a source is away and the mirror has not got it either."""
    place = f"{kind}/{name}/"
    if mirror:
        return f"the mirror {mirror} has no {place} either; put it there, or go online"
    return f"no mirror is named; put {place} into a folder that LAB_MIRROR names, or go online"
