"""A note for the commands to come that the store was away: they neither wait for it again at once nor say so again."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.redaction import redact

ASK_AGAIN_SECONDS = 600.0  # a store that hangs costs its patience once in that time, not once a cell
QUIET_SECONDS = 600.0  # between the cells of one `dvc repro`, so that it warns once


def note() -> Path:
    """Return the file that says which store was away, when it was asked, and by its time when that was last of use."""
    return paths.CACHE / "store-away.json"


def lately(uri: str) -> bool:
    """Say whether the store was found away so lately that it need not be asked."""
    content = _read()
    if content.get("store") != redact(uri):
        return False
    asked_before: bool = 0 <= time.time() - content["asked"] < ASK_AGAIN_SECONDS
    if asked_before:
        still()
    return asked_before


def still() -> None:
    """Keep the note's warning fresh: the same run of the plan goes on without the store."""
    with suppress(OSError):
        os.utime(note())


def tell(uri: str, reason: str) -> None:
    """Warn that the store is away, unless that was said lately, and leave the note."""
    known = _read().get("store") == redact(uri)
    quiet = known and 0 <= time.time() - note().stat().st_mtime < QUIET_SECONDS
    with suppress(OSError):  # no room for it: then the next one asks and warns again
        paths.CACHE.mkdir(exist_ok=True)
        paths.write_json(note(), {"store": redact(uri), "asked": time.time()})
    if not quiet:
        print(
            f"warning: tracking store {redact(uri)} is away ({reason}); "
            "the work goes on, and `lab sync` brings the store level later",
            file=sys.stderr,
            flush=True,
        )


def back() -> None:
    """Forget the note: a store has heard all of what it was told."""
    with suppress(OSError):
        note().unlink(missing_ok=True)


def _read() -> dict[str, Any]:
    try:
        content = json.loads(note().read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and isinstance(content.get("asked"), float) else {}
    except (OSError, ValueError):
        return {}
