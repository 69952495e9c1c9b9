"""Note that the store is unreachable: the next commands neither wait for it again nor repeat the warning."""

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

RETRY_SECONDS = 600.0  # a store that hangs costs its timeout once in that time, not once per cell
QUIET_SECONDS = 600.0  # longer than the time between two cells of one `dvc repro`, which warns once


def get_note() -> Path:
    """Return the file that names the unreachable store and when it was tried; its time is that of the last use."""
    return paths.CACHE / "store-unreachable.json"


def is_recent(uri: str) -> bool:
    """Return whether the store was unreachable so recently that no new attempt is due."""
    note = _read_note()
    if note.get("store") != redact(uri):
        return False
    is_fresh: bool = 0 <= time.time() - note["tried"] < RETRY_SECONDS
    if is_fresh:
        update_note_time()
    return is_fresh


def update_note_time() -> None:
    """Mark the note as used: the same run of the plan continues without the store."""
    with suppress(OSError):
        os.utime(get_note())


def print_warning(uri: str, reason: str) -> None:
    """Warn that the store is unreachable, unless that was printed recently, and write the note."""
    is_known = _read_note().get("store") == redact(uri)
    is_quiet = is_known and 0 <= time.time() - get_note().stat().st_mtime < QUIET_SECONDS
    with suppress(OSError):  # no space: the next command tries and warns again
        paths.CACHE.mkdir(exist_ok=True)
        paths.write_json(get_note(), {"store": redact(uri), "tried": time.time()})
    if not is_quiet:
        print(
            f"warning: tracking store {redact(uri)} is unreachable ({reason}); "
            "the run continues, and `lab sync` brings the store up to date later",
            file=sys.stderr,
            flush=True,
        )


def remove_note() -> None:
    """Remove the note: a store has received everything."""
    with suppress(OSError):
        get_note().unlink(missing_ok=True)


def _read_note() -> dict[str, Any]:
    try:
        content = json.loads(get_note().read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and isinstance(content.get("tried"), float) else {}
    except (OSError, ValueError):
        return {}
