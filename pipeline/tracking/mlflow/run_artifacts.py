"""Files that are shown with a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FIGURES = "figures"  # the folder whose files lie in one of their own in the store as well


def link(shown: Iterable[Path], folder: Path) -> list[Path]:
    """Let files lie in ``folder`` as well, as they are to lie in the store, and return where.

    Raises OSError where there is no room.
    """
    kept = []
    for path in shown:
        beside = folder / path.relative_to(path.parent.parent if path.parent.name == FIGURES else path.parent)
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, beside)
        except OSError:  # another disk, or one that knows no links
            shutil.copy2(path, beside)
        kept.append(beside)
    return kept


def attach(client: MlflowClient, run: str, shown: Iterable[Path]) -> None:
    """Show files with a run: as one folder, for which MLflow takes less than for a single file."""
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        folder = Path(made) / "shown"  # which others may read, as they may what the store makes of it
        if link(shown, folder):
            client.log_artifacts(run, str(folder))
